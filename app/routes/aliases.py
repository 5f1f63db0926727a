"""`/v1/models/{model}/aliases`: which version a name stands for, moved by people."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Response
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.http import OperationDep, ReadSession, answer, requires
from app.problems import Invalid, NotFound
from app.schemas.models import AliasView, Name, NewAliasTarget
from app.services.lookup import find_model, find_version
from app.services.promotion import alias_etag, find_alias, move_alias
from app.tables import Alias

router = APIRouter(prefix="/v1/models/{model}/aliases", tags=["models"])

Reader = Annotated[
    Principal,
    Depends(requires(Scope.VERSIONS_READ, Scope.MODELS_WRITE, Scope.REQUESTS_WRITE)),
]
Writer = Annotated[Principal, Depends(requires(Scope.MODELS_WRITE))]
AliasName = Annotated[Name, Path()]


@router.get("/{alias}", response_model=AliasView)
def get(model: str, alias: AliasName, caller: Reader, session: ReadSession) -> Response:
    """Where an alias points."""
    found = find_alias(session, find_model(session, caller.tenant_id, model), alias)
    if found is None:
        raise NotFound("alias", alias)
    return _answer(found)


@router.put("/{alias}", response_model=AliasView)
def move(
    model: str,
    alias: AliasName,
    body: NewAliasTarget,
    caller: Writer,
    operation: OperationDep,
    if_match: Annotated[
        str | None, Header(description="the alias' ETag; required where it exists")
    ] = None,
) -> Response:
    """Point an alias at a version, also back at an earlier one.

    Pointing the promotion alias at a `staged` version is how somebody decides what its audit could
    not; a `rejected` or `purged` one is refused. Where the version has not forgotten what the one
    in service has (a rollback), a reason is needed, and the requests are carried out again.
    """
    if alias.startswith("ver_") or alias.isdecimal():
        raise Invalid("path:alias", f"alias {alias!r} looks like a version's id or number")

    def work(session: Session) -> Response:
        found = find_model(session, caller.tenant_id, model)
        version = find_version(session, found, body.version)
        moved, reopened = move_alias(
            session, found, alias, version, caller.name, if_match=if_match, reason=body.reason
        )
        return _answer(moved, [one.id for one in reopened])

    return operation.run(work)


def _answer(alias: Alias, reopened: Sequence[str] = ()) -> Response:
    view = AliasView(
        name=alias.name,
        version=alias.version_id,
        revision=alias.revision,
        reopened=list(reopened),
    )
    return answer(view, ETag=alias_etag(alias))
