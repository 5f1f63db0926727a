"""`/v1/api-keys` and `/v1/whoami`: credentials."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.http import AnyPrincipal, OperationDep, PartsDep, ReadSession, answer, requires
from app.pagination import Items, PageDep, link_next
from app.problems import Conflict
from app.schemas.keys import KeyView, MadeKey, NewKey, WhoAmI
from app.services import keys
from app.services.lookup import owned
from app.tables import ApiKey

router = APIRouter(prefix="/v1", tags=["keys"])

Admin = Annotated[Principal, Depends(requires(Scope.ADMIN))]


@router.get("/whoami")
def whoami(caller: AnyPrincipal) -> WhoAmI:
    """Whom the service takes the caller for."""
    return WhoAmI(
        tenant=caller.tenant_id,
        principal=caller.name,
        scopes=sorted(caller.scopes),
        issuer=caller.issuer,
        subject=caller.subject,
    )


@router.post("/api-keys", status_code=201, response_model=MadeKey)
def create(body: NewKey, caller: Admin, operation: OperationDep, parts: PartsDep) -> Response:
    """Make a credential; the answer is the only one that shows it.

    The key is kept nowhere. So a repetition with the same Idempotency-Key makes no second one, but
    cannot show the first one again: it answers 409 with the key's id.
    """

    def work(session: Session) -> Response:
        row, key = keys.create(session, parts.hasher, caller, body)
        location = f"/v1/api-keys/{row.id}"
        return answer(MadeKey.of(row, key=key), 201, Location=location)

    def remembered(response: Response) -> Response:
        row_id = response.headers["location"].rpartition("/")[2]
        detail = f"the key was made as {row_id} and shown then; revoke it and make another"
        return Conflict("key-already-shown", detail, key_id=row_id).response()

    return operation.run(work, remembered)


@router.get("/api-keys")
def list_all(
    caller: Admin, session: ReadSession, page: PageDep, request: Request, response: Response
) -> Items[KeyView]:
    """The tenant's credentials, newest first, also those revoked."""
    rows = keys.page(session, caller.tenant_id, page.limit + 1, page.after)
    shown, cursor = page.cut(rows, lambda row: row.id)
    link_next(request, response, cursor)
    return Items(items=[KeyView.of(row) for row in shown], next=cursor)


@router.get("/api-keys/{key}")
def get(key: str, caller: Admin, session: ReadSession) -> KeyView:
    """One credential."""
    return KeyView.of(owned(session, caller.tenant_id, ApiKey, key))


@router.delete("/api-keys/{key}", status_code=204)
def revoke(key: str, caller: Admin, operation: OperationDep, parts: PartsDep) -> Response:
    """End a credential at once and for good."""

    def work(session: Session) -> Response:
        keys.revoke(session, owned(session, caller.tenant_id, ApiKey, key), caller.name)
        return Response(status_code=204)

    said = operation.run(work)
    parts.known_keys.forget(key)
    return said
