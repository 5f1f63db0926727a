"""`/v1/models`: networks under management."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.http import OperationDep, ReadSession, answer, requires
from app.pagination import Items, PageDep, link_next
from app.schemas.models import ModelPatch, ModelView, NewModel
from app.services import models
from app.services.lookup import find_model
from app.tables import Model

router = APIRouter(prefix="/v1/models", tags=["models"])

Reader = Annotated[
    Principal,
    Depends(requires(Scope.VERSIONS_READ, Scope.MODELS_WRITE, Scope.REQUESTS_WRITE)),
]
Writer = Annotated[Principal, Depends(requires(Scope.MODELS_WRITE))]


@router.post("", status_code=201, response_model=ModelView)
def create(body: NewModel, caller: Writer, operation: OperationDep) -> Response:
    """Put a network under management.

    A worker is asked at once what the workload's network and tasks look like; until it has
    answered, `description` is null and versions cannot be registered.
    """

    def work(session: Session) -> Response:
        model = models.create(session, caller.tenant_id, caller.name, body)
        return _answer(session, model, 201, Location=f"/v1/models/{model.name}")

    return operation.run(work)


@router.get("")
def list_all(
    caller: Reader, session: ReadSession, page: PageDep, request: Request, response: Response
) -> Items[ModelView]:
    """Models in use, newest first."""
    rows = models.page(session, caller.tenant_id, page.limit + 1, page.after)
    shown, cursor = page.cut(rows, lambda model: model.id)
    link_next(request, response, cursor)
    aliases = models.aliases_of(session, shown)
    items = [ModelView.of(model, aliases.get(model.id, {})) for model in shown]
    return Items(items=items, next=cursor)


@router.get("/{model}", response_model=ModelView)
def get(model: str, caller: Reader, session: ReadSession) -> Response:
    """One model, by id or name."""
    return _answer(session, find_model(session, caller.tenant_id, model))


@router.patch("/{model}", response_model=ModelView)
def change(
    model: str,
    body: ModelPatch,
    caller: Writer,
    operation: OperationDep,
    if_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Rename a model, or replace members of its policy."""

    def work(session: Session) -> Response:
        found = find_model(session, caller.tenant_id, model)
        return _answer(session, models.change(session, found, caller.name, body, if_match))

    return operation.run(work)


@router.delete("/{model}", status_code=204)
def archive(model: str, caller: Writer, operation: OperationDep) -> Response:
    """Take a model out of use.

    Its versions, audits and receipts stay, and are found by its id; its name is free again.
    """

    def work(session: Session) -> Response:
        models.archive(session, find_model(session, caller.tenant_id, model), caller.name)
        return Response(status_code=204)

    return operation.run(work)


def _answer(session: Session, model: Model, status: int = 200, **headers: str) -> Response:
    aliases = models.aliases_of(session, [model]).get(model.id, {})
    return answer(ModelView.of(model, aliases), status, ETag=models.etag(model), **headers)
