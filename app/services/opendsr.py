"""OpenDSR's erasure requests: each becomes a deletion request in every model that knows the person.

Its status follows from theirs. What has failed, or ended with cells that did not meet their
thresholds, is `in_progress`: it is not fulfilled, and somebody must look at it.
"""

import hashlib
from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.db import Database, database_now
from app.dsr_tables import DsrCallback, DsrCursor, DsrRequest
from app.ids import new_id
from app.problems import Invalid, NotFound, Problem, Unavailable
from app.schemas.deletion_requests import NewDeletionRequest
from app.schemas.opendsr import DsrStatus, HashFormat, Identity, NewDsrRequest, Status
from app.services import cancellation, intake
from app.services.attempts import lock_ledger
from app.services.cells import promoted_version
from app.services.intake import CLOCK_SKEW
from app.services.request_views import receipt_href
from app.states import FINISHED_REQUEST, DeliveryState, RequestState
from app.tables import DeletionRequest, Instance, Model

_WITHDRAWN = (RequestState.CANCELLED, RequestState.DENIED, RequestState.EXPIRED)
_WAITING = (
    RequestState.RECEIVED,
    RequestState.AWAITING_APPROVAL,
    RequestState.ON_HOLD,
    RequestState.QUEUED,
)


def prepare(database: Database, tenant_id: str, body: NewDsrRequest) -> None:
    """Have the subjects of all models in service hashed, as this request needs them."""
    algorithms = _hashes(body.subject_identities)
    if not algorithms:
        return
    from app.opendsr import digests  # noqa: PLC0415 - NumPy takes a while to import

    with database.read() as session:
        roots = {root_id for _, root_id in _in_service(session, tenant_id)}
    for root_id in sorted(roots):
        for algorithm in algorithms:
            digests.prepare(database, tenant_id, root_id, algorithm)


def receive(
    session: Session, tenant_id: str, body: NewDsrRequest, content: bytes, actor: str
) -> DsrRequest:
    """The new row, or the one that the same message made before; 400 for another message's id."""
    head = ledger.lock(session, tenant_id)
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
    asked = {
        "reason": f"opendsr:{body.regulation}",
        "external_id": body.subject_request_id,
        "received_at": body.submitted_time.isoformat(),
    }
    made = []
    for model, theirs in _known_to(session, tenant_id, body.subject_identities):
        named = {**asked, "model": model.id, "subjects": theirs}
        request = NewDeletionRequest.model_validate(named)
        made.append(intake.receive(session, tenant_id, request, actor).request)
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
    if session.get(DsrCursor, tenant_id) is None:
        # What this transaction has done comes behind the ledger's head.
        session.add(DsrCursor(tenant_id=tenant_id, seq=head.seq))
    session.flush()
    tell(session, row)
    return row


def tell(session: Session, row: DsrRequest) -> int:
    """How many callbacks it takes to tell the controller that its request's status has changed."""
    status = _status(_requests(session, row))
    if status == row.told_status:
        return 0
    row.told_status = status
    now = database_now(session)
    session.add_all(
        DsrCallback(
            id=new_id("cbk"),
            tenant_id=row.tenant_id,
            dsr_id=row.id,
            url=url,
            status=status,
            state=DeliveryState.WAITING,
            next_attempt_at=now,
        )
        for url in row.callback_urls
    )
    return len(row.callback_urls)


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
    now = _status(_requests(session, row))
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
        request_status=_status(_requests(session, row)),
        results_url=f"{base_url}{receipt_href(ids[0])}" if len(ids) == 1 else None,
        results_count=len(ids),
    )


def _status(requests: Sequence[DeletionRequest]) -> Status:
    """What they have come to, in OpenDSR's words."""
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
    session: Session, tenant_id: str, identities: Sequence[Identity]
) -> Iterator[tuple[Model, list[str]]]:
    """The tenant's models in service that know some of these people, each with their subjects."""
    raw = list(
        dict.fromkeys(one.identity_value for one in identities if one.identity_format == "raw")
    )
    for model, root_id in _in_service(session, tenant_id):
        rows = select(Instance.subject).where(
            Instance.root_id == root_id, Instance.subject.in_(raw)
        )
        known = set(session.scalars(rows.distinct()))
        subjects = [one for one in raw if one in known]
        for algorithm, hashes in _hashes(identities).items():
            from app.opendsr import digests  # noqa: PLC0415

            if not digests.is_ready(session, root_id, algorithm):
                raise Unavailable(f"model {model.name!r} has just got other data: try again")
            subjects += digests.subjects_of(session, root_id, algorithm, hashes)
        if subjects:
            yield model, list(dict.fromkeys(subjects))


def _in_service(session: Session, tenant_id: str) -> Iterator[tuple[Model, str]]:
    """The tenant's models in service, each with the root version that has its manifest."""
    models = select(Model).where(Model.tenant_id == tenant_id, Model.archived_at.is_(None))
    for model in session.scalars(models.order_by(Model.id)).all():
        version = promoted_version(session, model)
        if version is not None and model.description is not None:
            yield model, version.root_id


def _hashes(identities: Sequence[Identity]) -> dict[HashFormat, set[bytes]]:
    """The hashed identities, by algorithm."""
    found: dict[HashFormat, set[bytes]] = {}
    for one in identities:
        if one.identity_format != "raw":
            value = bytes.fromhex(one.identity_value)
            found.setdefault(one.identity_format, set()).add(value)
    return found
