"""`/v1/deletion-requests`: post, list, look at, and wait for deletion requests."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.db import Database
from app.http import (
    DatabaseDep,
    PartsDep,
    ReadSession,
    Sending,
    SendingCheck,
    answer,
    requires,
)
from app.pagination import Items, PageDep, link_next, moment_key
from app.schemas.deletion_requests import DeletionRequestView, NewDeletionRequest, Preview
from app.schemas.fields import Instant, Text
from app.services import intake, request_views
from app.services.lookup import owned
from app.states import FINISHED_REQUEST, RequestState
from app.tables import DeletionRequest
from app.waiting import LONGEST_WAIT, held, known_tags

router = APIRouter(prefix="/v1/deletion-requests", tags=["deletion requests"])

Caller = Annotated[Principal, Depends(requires(Scope.REQUESTS_WRITE, Scope.REQUESTS_APPROVE))]
"""Who approves requests must be able to read them."""
Sender = Annotated[Sending, Depends(SendingCheck((Scope.REQUESTS_WRITE,)))]
Writer = Annotated[Principal, Depends(requires(Scope.REQUESTS_WRITE))]


@router.post(
    "",
    status_code=202,
    response_model=DeletionRequestView,
    responses={200: {"model": DeletionRequestView | Preview}},
)
async def create(body: NewDeletionRequest, sending: Sender, parts: PartsDep) -> Response:
    """Ask that instances be forgotten.

    202 while there is work to do or somebody must approve it; 200 where all of it was forgotten
    before. With `validate_only`, 200 and what would happen.
    """
    caller = sending.caller
    if body.validate_only:
        return await run_in_threadpool(_preview, parts.database, sending, body)

    def work(session: Session) -> Response:
        received = intake.receive(session, caller.tenant_id, body, caller.name)
        return as_received(request_views.new_view(session, received), received.request)

    return await sending.operation.run_together(work)


@router.get("")
def list_requests(
    http: Request,
    response: Response,
    caller: Caller,
    session: ReadSession,
    page: PageDep,
    state: RequestState | None = None,
    model: Annotated[Text | None, Query(max_length=63)] = None,
    subject: Annotated[Text | None, Query(max_length=512)] = None,
    external_id: Annotated[Text | None, Query(max_length=200)] = None,
    due_before: Instant | None = None,
) -> Items[DeletionRequestView]:
    """Requests, newest first; with `due_before` by deadline, the most pressing first."""
    by_deadline = due_before is not None
    rows = request_views.list_requests(
        session,
        caller.tenant_id,
        limit=page.limit + 1,
        before_id=None if by_deadline else page.after,
        after_due=page.after_moment() if by_deadline else None,
        state=state,
        model=model,
        subject=subject,
        external_id=external_id,
        due_before=due_before,
    )
    shown, cursor = page.cut(
        rows, lambda one: moment_key(one.due_at, one.id) if by_deadline else one.id
    )
    link_next(http, response, cursor)
    return Items(items=request_views.views(session, shown), next=cursor)


@router.get("/{request_id}", response_model=DeletionRequestView)
async def get(
    request_id: Text,
    http: Request,
    caller: Caller,
    database: DatabaseDep,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """One request.

    With `wait`, the answer is held for up to that many seconds, until the request differs from the
    one that `If-None-Match` names. Without that header, until its state changes, or at once where
    the request is finished.
    """
    tenant = caller.tenant_id
    known = known_tags(if_none_match)
    states: list[str] = []

    def waits(seen: tuple[int, str]) -> bool:
        states.append(seen[1])
        unchanged = seen[1] == states[0] and seen[1] not in FINISHED_REQUEST
        return str(seen[0]) in known if known else unchanged

    revision, _ = await held(http, wait, lambda: _glance(database, tenant, request_id), waits)
    if str(revision) in known:
        return Response(status_code=304, headers={"ETag": f'"{revision}"'})
    return await run_in_threadpool(_seen, database, tenant, request_id)


def as_seen(
    view: DeletionRequestView, revision: int, status: int = 200, **headers: str
) -> Response:
    """The answer that shows a request, with its revision as the ETag."""
    return answer(view, status, ETag=f'"{revision}"', **headers)


def as_received(view: DeletionRequestView, request: DeletionRequest) -> Response:
    """The answer to whoever asked for it: 202 where there is something to wait for."""
    finished = request.state in FINISHED_REQUEST
    headers = {} if finished else {"Retry-After": "2"}
    return as_seen(
        view,
        request.revision,
        200 if finished else 202,
        Location=f"/v1/deletion-requests/{request.id}",
        **headers,
    )


def _preview(database: Database, sending: Sending, body: NewDeletionRequest) -> Response:
    with database.read() as session:
        sending.operation.confirm(session)
        return answer(intake.preview(session, sending.caller.tenant_id, body))


def _glance(database: Database, tenant_id: str, request_id: str) -> tuple[int, str]:
    with database.read() as session:
        request = owned(session, tenant_id, DeletionRequest, request_id)
        return request.revision, request.state


def _seen(database: Database, tenant_id: str, request_id: str) -> Response:
    with database.read() as session:
        request = owned(session, tenant_id, DeletionRequest, request_id)
        return as_seen(request_views.view(session, request), request.revision)
