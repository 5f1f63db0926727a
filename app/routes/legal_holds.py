"""`/v1/legal-holds`: what must not be erased for now, placed and released."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.http import OperationDep, ReadSession, answer, requires
from app.pagination import Items, PageDep, link_next
from app.schemas.fields import Text
from app.schemas.legal_holds import LegalHoldView, NewLegalHold, Release
from app.services import legal_holds
from app.services.lookup import owned
from app.tables import LegalHold

router = APIRouter(prefix="/v1/legal-holds", tags=["deletion requests"])

Reader = Annotated[Principal, Depends(requires(Scope.REQUESTS_WRITE, Scope.REQUESTS_APPROVE))]
Approver = Annotated[Principal, Depends(requires(Scope.REQUESTS_APPROVE))]


@router.post("", status_code=201, response_model=LegalHoldView)
def place(body: NewLegalHold, caller: Approver, operation: OperationDep) -> Response:
    """Forbid for now that instances or subjects be erased (GDPR Art. 17(3)).

    Unfinished requests that name any of them are `on_hold` until the hold is released, all of
    them as a whole; new ones too. Where a worker is busy with one, its job starts again without it.
    """

    def work(session: Session) -> Response:
        hold = legal_holds.place(session, caller.tenant_id, caller.name, body)
        return answer(LegalHoldView.of(hold), 201, Location=f"/v1/legal-holds/{hold.id}")

    return operation.run(work)


@router.get("")
def list_all(
    request: Request,
    response: Response,
    caller: Reader,
    session: ReadSession,
    page: PageDep,
    active: bool | None = None,
) -> Items[LegalHoldView]:
    """Legal holds, newest first: all, or those (not) in force."""
    rows = legal_holds.page(session, caller.tenant_id, page.limit + 1, page.after, active=active)
    shown, cursor = page.cut(rows, lambda row: row.id)
    link_next(request, response, cursor)
    return Items(items=[LegalHoldView.of(row) for row in shown], next=cursor)


@router.get("/{hold_id}")
def get(hold_id: Text, caller: Reader, session: ReadSession) -> LegalHoldView:
    """One legal hold."""
    return LegalHoldView.of(owned(session, caller.tenant_id, LegalHold, hold_id))


@router.post("/{hold_id}/release", response_model=LegalHoldView)
def release(hold_id: Text, body: Release, caller: Approver, operation: OperationDep) -> Response:
    """End a hold: requests that no other one holds go on by themselves."""

    def work(session: Session) -> Response:
        hold = legal_holds.release(session, caller.tenant_id, hold_id, caller.name, body.reason)
        return answer(LegalHoldView.of(hold))

    return operation.run(work)
