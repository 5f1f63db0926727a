"""OpenDSR's erasure requests: each becomes a deletion request in every model that knows the person.

Its status follows from theirs. What has failed, or ended with cells that did not meet their
thresholds, is `in_progress`: it is not fulfilled, and somebody must look at it.
"""

import hashlib
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import database_now
from app.dsr_tables import DsrRequest
from app.ids import new_id
from app.problems import Invalid, NotFound, Problem
from app.schemas.deletion_requests import NewDeletionRequest
from app.schemas.opendsr import DsrStatus, NewDsrRequest, Status
from app.services import cancellation, intake
from app.services.attempts import lock_ledger
from app.services.cells import CHUNK, promoted_version
from app.services.intake import CLOCK_SKEW
from app.services.request_views import receipt_href
from app.states import FINISHED_REQUEST, RequestState
from app.tables import DeletionRequest, Instance, Model

_WITHDRAWN = (RequestState.CANCELLED, RequestState.DENIED, RequestState.EXPIRED)
_WAITING = (
    RequestState.RECEIVED,
    RequestState.AWAITING_APPROVAL,
    RequestState.ON_HOLD,
    RequestState.QUEUED,
)


def receive(
    session: Session, tenant_id: str, body: NewDsrRequest, content: bytes, actor: str
) -> DsrRequest:
    """The new row, or the one that the same message made before; 400 for another message's id."""
    lock_ledger(session, tenant_id)
    digest = hashlib.sha256(content).hexdigest()
    known = _find(session, tenant_id, body.subject_request_id)
    if known is not None:
        if known.body_sha256 != digest:
            detail = f"subject_request_id {body.subject_request_id} was used for another request"
            raise Problem(400, "subject-request-id-reused", detail)
        return known
    now = database_now(session)
    if body.submitted_time > now + CLOCK_SKEW:
        at = body.submitted_time.isoformat()
        raise Invalid("#/submitted_time", f"submitted_time {at} is in the future")
    subjects = list(dict.fromkeys(one.identity_value for one in body.subject_identities))
    asked = {
        "reason": f"opendsr:{body.regulation}",
        "external_id": body.subject_request_id,
        "received_at": body.submitted_time.isoformat(),
    }
    made = []
    for model, theirs in _known_to(session, tenant_id, subjects):
        named = {**asked, "model": model.id, "subjects": theirs}
        request = NewDeletionRequest.model_validate(named)
        made.append(intake.receive(session, tenant_id, request, actor))
    row = DsrRequest(
        id=new_id("dsr"),
        tenant_id=tenant_id,
        subject_request_id=body.subject_request_id,
        body_sha256=digest,
        received_time=now,
        expected_completion_time=max((one.due_at for one in made), default=now),
        callback_urls=list(dict.fromkeys(body.status_callback_urls)),
        deletion_requests=[one.id for one in made],
        told_status="pending",
    )
    session.add(row)
    session.flush()
    return row


def find(session: Session, tenant_id: str, subject_request_id: str) -> DsrRequest:
    """The tenant's request of this id; 404 where there is none."""
    row = _find(session, tenant_id, subject_request_id)
    if row is None:
        raise NotFound("OpenDSR request", subject_request_id)
    return row


def cancel(session: Session, tenant_id: str, subject_request_id: str, actor: str) -> DsrRequest:
    """Withdraw a request that is still `pending`, with its deletion requests; else 400."""
    lock_ledger(session, tenant_id)
    row = find(session, tenant_id, subject_request_id)
    now = status_of(session, row)
    if now != "pending":
        raise Problem(
            400,
            "illegal-state",
            f"request {subject_request_id} is {now}: only a pending one can be cancelled",
            state=now,
        )
    for request in _requests(session, row):
        if request.state not in FINISHED_REQUEST:
            why = "withdrawn over OpenDSR"
            cancellation.cancel(session, tenant_id, request.id, actor, why)
    return row


def view(session: Session, row: DsrRequest, base_url: str) -> DsrStatus:
    """A request's status as controllers see it."""
    ids = row.deletion_requests
    return DsrStatus(
        controller_id=row.tenant_id,
        expected_completion_time=row.expected_completion_time,
        subject_request_id=row.subject_request_id,
        request_status=status_of(session, row),
        results_url=f"{base_url}{receipt_href(ids[0])}" if len(ids) == 1 else None,
        results_count=len(ids),
    )


def status_of(session: Session, row: DsrRequest) -> Status:
    """What its deletion requests have come to, in OpenDSR's words."""
    return statuses(session, [row])[row.id]


def statuses(session: Session, rows: Sequence[DsrRequest]) -> dict[str, Status]:
    """The status of each, by id; their deletion requests are read many at a time."""
    ids = [request_id for row in rows for request_id in row.deletion_requests]
    found: dict[str, DeletionRequest] = {}
    for start in range(0, len(ids), CHUNK):
        some = select(DeletionRequest).where(DeletionRequest.id.in_(ids[start : start + CHUNK]))
        found.update((request.id, request) for request in session.scalars(some))
    return {row.id: _status([found[one] for one in row.deletion_requests]) for row in rows}


def _status(requests: Sequence[DeletionRequest]) -> Status:
    states = {RequestState(request.state) for request in requests}
    if all(_is_done(one) or one.state in _WITHDRAWN for one in requests):
        return "cancelled" if states and states <= set(_WITHDRAWN) else "completed"
    return "pending" if states <= {*_WAITING, *_WITHDRAWN} else "in_progress"


def _is_done(request: DeletionRequest) -> bool:
    if request.state == RequestState.COMPLETED_WITH_EXCEPTIONS:
        return not request.exceptions
    return request.state == RequestState.COMPLETED


def _requests(session: Session, row: DsrRequest) -> Sequence[DeletionRequest]:
    found = select(DeletionRequest).where(
        DeletionRequest.tenant_id == row.tenant_id, DeletionRequest.id.in_(row.deletion_requests)
    )
    return session.scalars(found.order_by(DeletionRequest.id)).all()


def _find(session: Session, tenant_id: str, subject_request_id: str) -> DsrRequest | None:
    return session.scalar(
        select(DsrRequest).where(
            DsrRequest.tenant_id == tenant_id, DsrRequest.subject_request_id == subject_request_id
        )
    )


def _known_to(
    session: Session, tenant_id: str, subjects: Sequence[str]
) -> Sequence[tuple[Model, list[str]]]:
    """The tenant's models in service that know some of these subjects, each with those."""
    models = select(Model).where(Model.tenant_id == tenant_id, Model.archived_at.is_(None))
    found = []
    for model in session.scalars(models.order_by(Model.id)).all():
        version = promoted_version(session, model)
        if version is None or model.description is None:
            continue
        rows = session.scalars(
            select(Instance.subject)
            .where(Instance.root_id == version.root_id, Instance.subject.in_(subjects))
            .distinct()
        )
        known = set(rows)
        if known:
            found.append((model, [one for one in subjects if one in known]))
    return found
