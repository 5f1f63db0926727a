"""`/v1/models/{model}/manifest`: what a version was trained on, and what it has forgotten."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.http import ReadSession, requires
from app.pagination import Items, PageDep, link_next
from app.problems import NotFound
from app.schemas.versions import ManifestItem
from app.services.cells import manifest_page, promoted_version
from app.services.lookup import find_model, find_version
from app.tables import Model, Version

router = APIRouter(prefix="/v1/models/{model}/manifest", tags=["models"])

Reader = Annotated[Principal, Depends(requires(Scope.REQUESTS_WRITE, Scope.MODELS_WRITE))]


@router.get("")
def list_all(
    model: str,
    caller: Reader,
    session: ReadSession,
    page: PageDep,
    request: Request,
    response: Response,
    version: Annotated[
        str | None, Query(max_length=63, description="by default the one in service")
    ] = None,
) -> Items[ManifestItem]:
    """The instances of a version's manifest, in its order."""
    found = find_model(session, caller.tenant_id, model)
    rows = manifest_page(
        session, _version(session, found, version), page.after_number() or 0, page.limit + 1
    )
    shown, cursor = page.cut(rows, lambda row: row[0].pk)
    link_next(request, response, cursor)
    items = [
        ManifestItem(
            id=instance.instance_id,
            subject=instance.subject,
            digest=instance.digest,
            tasks=instance.tasks,
            forgotten=forgotten,
        )
        for instance, forgotten in shown
    ]
    return Items(items=items, next=cursor)


def _version(session: Session, model: Model, ref: str | None) -> Version:
    if ref is not None:
        return find_version(session, model, ref)
    version = promoted_version(session, model)
    if version is None:
        raise NotFound("version in service of model", model.name)
    return version
