"""What people decide on a request: approve, deny, extend and retry it; and what time decides.

Each verb first takes the tenant's turn to write and only then reads the request, so that what it
decides on cannot change under it. A verb that the state forbids raises IllegalTransition.
"""

from collections import Counter

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from app import ledger
from app.db import database_now
from app.deadlines import extended
from app.problems import Conflict, Invalid
from app.schemas.models import Policy
from app.services.attempts import lock_ledger
from app.services.cells import cells_of, promoted_version
from app.services.lookup import owned
from app.services.parking import queue_or_park
from app.services.resolution import emptied_tasks
from app.services.transitions import move_request
from app.states import FINISHED_REQUEST, IllegalTransition, RequestState
from app.tables import Approval, DeletionRequest, LedgerEvent, Model

_RETRIABLE = (RequestState.FAILED, RequestState.COMPLETED_WITH_EXCEPTIONS)


def approve(
    session: Session, tenant_id: str, request_id: str, actor: str, note: str | None
) -> DeletionRequest:
    """Queue a held request, or have it wait for a second approver where it needs two.

    409 where no method of the policy could carry it out, and for an approver who may not be one.
    """
    request = locked_request(session, tenant_id, request_id)
    _expect(request, RequestState.AWAITING_APPROVAL, to=RequestState.QUEUED)
    before = approvers(session, request)
    _check_approver(request, before, actor)
    _check_can_empty(session, request)
    session.add(
        Approval(request_id=request.id, principal=actor, note=note, at=database_now(session))
    )
    told: dict[str, str | int] = {"note": note} if note else {}
    if request.approvals_needed > 1:
        told |= {"approvals": len(before) + 1, "needed": request.approvals_needed}
    ledger.append(session, tenant_id, "request.approved", request.id, actor, told)
    if len(before) + 1 < request.approvals_needed:
        request.state_reason = f"approved by {actor}; it waits for another person's approval"
        touch(session, request)
    else:
        queue_or_park(session, request, actor)
    return request


def approvers(session: Session, request: DeletionRequest) -> list[str]:
    """Who has approved the request."""
    names = select(Approval.principal).where(Approval.request_id == request.id)
    return list(session.scalars(names))


def deny(
    session: Session, tenant_id: str, request_id: str, actor: str, ground: str
) -> DeletionRequest:
    """Refuse a request that is not queued yet, for a reason that the data subject can be told."""
    request = locked_request(session, tenant_id, request_id)
    move_request(session, request, RequestState.DENIED, actor=actor, reason=ground)
    return request


def extend(
    session: Session, tenant_id: str, request_id: str, actor: str, months: int, reason: str
) -> DeletionRequest:
    """Move the deadline by one or two calendar months, once."""
    request = locked_request(session, tenant_id, request_id)
    if request.state in FINISHED_REQUEST:
        raise Conflict(
            "illegal-state",
            f"request {request.id} is {request.state}: there is no deadline left to extend",
            state=request.state,
        )
    if request.extended:
        raise Conflict(
            "already-extended",
            f"request {request.id} was extended before, to {request.due_at.isoformat()};"
            " the law allows it once",
            state=request.state,
        )
    former = request.due_at
    try:
        request.due_at = extended(request.received_at, former, months)
    except ValueError as error:
        raise Invalid("#/months", str(error)) from None
    request.extended = True
    touch(session, request)
    told = {
        "from": former.isoformat(),
        "to": request.due_at.isoformat(),
        "months": months,
        "reason": reason,
    }
    ledger.append(session, tenant_id, "request.extended", request.id, actor, told)
    return request


def retry(session: Session, tenant_id: str, request_id: str, actor: str) -> DeletionRequest:
    """Queue a request again that failed or ended with exceptions."""
    request = locked_request(session, tenant_id, request_id)
    _expect(request, *_RETRIABLE, to=RequestState.QUEUED)
    model = session.get_one(Model, request.model_id)
    version = promoted_version(session, model)
    if version is None or version.root_id != request.root_id:
        raise Conflict(
            "other-root",
            f"model {model.name!r} now serves a version that was registered with another manifest:"
            " send a new request",
            state=request.state,
        )
    if request.instance_count == 0:
        raise Conflict(
            "nothing-to-do",
            f"request {request.id} names nothing that is in the manifest: send a new one",
            state=request.state,
        )
    _check_can_empty(session, request)
    request.exceptions = []
    request.version_id = None
    queue_or_park(session, request, actor)
    return request


def expire_overdue(session: Session) -> int:
    """End the requests that nobody approved before they were due; returns how many.

    Not those that a legal hold kept from being approved.
    """
    overdue = select(DeletionRequest).where(
        DeletionRequest.state == RequestState.AWAITING_APPROVAL,
        DeletionRequest.due_at < database_now(session),
        ~_was_on_hold(),
    )
    tenants = overdue.with_only_columns(DeletionRequest.tenant_id).distinct()
    expired = 0
    # In one order, so that two sweeps never wait for each other in a ring.
    for tenant_id in sorted(session.scalars(tenants)):
        lock_ledger(session, tenant_id)
        theirs = overdue.where(DeletionRequest.tenant_id == tenant_id).order_by(DeletionRequest.id)
        fresh = theirs.execution_options(populate_existing=True)
        for request in session.scalars(fresh).all():
            why = f"nobody approved it before it was due at {request.due_at.isoformat()}"
            move_request(session, request, RequestState.EXPIRED, actor="deadline", reason=why)
            expired += 1
    return expired


def _was_on_hold() -> ColumnElement[bool]:
    return exists().where(
        LedgerEvent.entity_id == DeletionRequest.id,
        LedgerEvent.kind == f"request.{RequestState.ON_HOLD}",
    )


def locked_request(session: Session, tenant_id: str, request_id: str) -> DeletionRequest:
    """The request as it now is, with the tenant's turn to write taken first."""
    lock_ledger(session, tenant_id)
    request = owned(session, tenant_id, DeletionRequest, request_id)
    session.refresh(request)
    return request


def _expect(request: DeletionRequest, *states: RequestState, to: RequestState) -> None:
    if request.state not in states:
        raise IllegalTransition(f"deletion_request {request.id}", request.state, to)


def _check_approver(request: DeletionRequest, before: list[str], actor: str) -> None:
    """409 where this approval would not be a second person's."""
    if actor in before:
        raise Conflict(
            "already-approved",
            f"{actor} has approved request {request.id} before: another person must",
            state=request.state,
        )
    if request.approvals_needed > 1 and actor == request.created_by:
        raise Conflict(
            "own-request",
            f"{actor} made request {request.id}, which two other persons must approve",
            state=request.state,
        )


def _check_can_empty(session: Session, request: DeletionRequest) -> None:
    """409 where a task would lose all its data and the policy's method cannot do that."""
    model = session.get_one(Model, request.model_id)
    version = promoted_version(session, model)
    method = Policy.model_validate(model.policy).method
    if version is None or method == "retrain":
        return
    fresh = Counter(task for _, task in cells_of(session, request))
    emptied = emptied_tasks(session, version, request.tasks, fresh)
    if emptied:
        tasks = ", ".join(map(repr, emptied))
        raise Conflict(
            "needs-retrain",
            f"request {request.id} would leave nothing that teaches {tasks}, which only the method"
            f" 'retrain' can do, and the policy of model {model.name!r} says {method!r}: change the"
            " policy and approve again, or deny the request",
            state=request.state,
            tasks=emptied,
        )


def touch(session: Session, request: DeletionRequest) -> None:
    """Show those who wait that something other than the state has changed."""
    request.revision += 1
    request.updated_at = database_now(session)
    session.flush()
