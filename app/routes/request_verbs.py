"""What is done to a deletion request: approve, deny, cancel, extend, retry."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy.orm import Session

from app.auth import Principal, Scope
from app.http import OperationDep, requires
from app.idempotency import Operation
from app.routes.deletion_requests import Writer, as_seen
from app.schemas.deletion_requests import (
    Approval,
    Cancellation,
    DeletionRequestView,
    Denial,
    Extension,
    Retry,
)
from app.schemas.fields import Text
from app.services import approval, cancellation, request_views
from app.states import FINISHED_REQUEST
from app.tables import DeletionRequest

router = APIRouter(prefix="/v1/deletion-requests/{request_id}", tags=["deletion requests"])

Approver = Annotated[Principal, Depends(requires(Scope.REQUESTS_APPROVE))]


@router.post("/approve", status_code=202, response_model=DeletionRequestView)
def approve(
    request_id: Text, caller: Approver, operation: OperationDep, body: Approval | None = None
) -> Response:
    """Let a request go on that waits for approval."""
    note = body.note if body else None
    return _answer(
        operation,
        lambda session: approval.approve(session, caller.tenant_id, request_id, caller.name, note),
    )


@router.post("/deny", response_model=DeletionRequestView)
def deny(request_id: Text, caller: Approver, operation: OperationDep, body: Denial) -> Response:
    """Refuse a request that waits for approval, on a stated ground."""
    return _answer(
        operation,
        lambda session: approval.deny(
            session, caller.tenant_id, request_id, caller.name, body.ground
        ),
    )


@router.post(
    "/cancel",
    response_model=DeletionRequestView,
    responses={202: {"model": DeletionRequestView}},
)
def cancel(
    request_id: Text, caller: Writer, operation: OperationDep, body: Cancellation | None = None
) -> Response:
    """Withdraw a request.

    200 where it is cancelled; 202 where a worker has to stop first. 409 `job-shared` where a job at
    work serves other requests too: those are not undone.
    """
    reason = body.reason if body else None
    return _answer(
        operation,
        lambda session: cancellation.cancel(
            session, caller.tenant_id, request_id, caller.name, reason
        ),
    )


@router.post("/extend", response_model=DeletionRequestView)
def extend(
    request_id: Text, caller: Approver, operation: OperationDep, body: Extension
) -> Response:
    """Move the deadline by one or two calendar months, once (GDPR Art. 12(3))."""
    return _answer(
        operation,
        lambda session: approval.extend(
            session, caller.tenant_id, request_id, caller.name, body.months, body.reason
        ),
        status=200,
    )


@router.post("/retry", status_code=202, response_model=DeletionRequestView)
def retry(
    request_id: Text, caller: Writer, operation: OperationDep, body: Retry | None = None
) -> Response:
    """Queue a request again that failed or was completed with exceptions."""
    return _answer(
        operation,
        lambda session: approval.retry(session, caller.tenant_id, request_id, caller.name),
    )


def _answer(
    operation: Operation, verb: Callable[[Session], DeletionRequest], status: int | None = None
) -> Response:
    """The request after the verb: 202 while something is still to happen, else 200."""

    def work(session: Session) -> Response:
        request = verb(session)
        found = status or (200 if request.state in FINISHED_REQUEST else 202)
        return as_seen(request_views.view(session, request), request.revision, found)

    return operation.run(work)
