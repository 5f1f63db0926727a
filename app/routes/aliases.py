"""`/v1/models/{model}/aliases`: which version a name stands for, moved by people."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.http import DatabaseDep, OperationDep, answer, requires
from app.problems import Invalid, NotFound
from app.schemas.models import AliasView, Name, NewAliasTarget
from app.services.lookup import find_model, find_version
from app.services.promotion import alias_etag, find_alias, move_alias
from app.tables import Alias
from app.waiting import LONGEST_WAIT, held, known_tags

router = APIRouter(prefix="/v1/models/{model}/aliases", tags=["models"])

Reader = Annotated[
    Principal,
    Depends(
        requires(
            Scope.VERSIONS_READ,
            Scope.VERSIONS_DOWNLOAD,
            Scope.VERSIONS_FOLLOW,
            Scope.MODELS_WRITE,
            Scope.REQUESTS_WRITE,
        )
    ),
]
Writer = Annotated[Principal, Depends(requires(Scope.MODELS_WRITE))]
AliasName = Annotated[Name, Path()]


@router.get(
    "/{alias}",
    response_model=AliasView,
    responses={304: {"description": "It is as `If-None-Match` says"}},
)
async def get(
    model: str,
    alias: AliasName,
    http: Request,
    caller: Reader,
    database: DatabaseDep,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Where an alias points.

    With `wait` and the alias' ETag as `If-None-Match`, the answer is held for up to that many
    seconds, until the alias is moved: so a host that serves the model can follow it.
    """
    known = known_tags(if_none_match)

    def look() -> Alias:
        with database.read() as session:
            found = find_alias(session, find_model(session, caller.tenant_id, model), alias)
        if found is None:
            raise NotFound("alias", alias)
        return found

    found = await held(http, wait, look, lambda seen: str(seen.revision) in known)
    if str(found.revision) in known:
        return Response(status_code=304, headers={"ETag": alias_etag(found)})
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
