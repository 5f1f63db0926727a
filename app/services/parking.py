"""Requests that a legal hold forbids to carry out: parked until the last such hold is released.

Whoever queues a request does it here, so that none passes a hold. The tenant's turn to write must
be taken before: then no hold comes between the look and the move.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.prepared import Prepared
from app.services.cells import CHUNK
from app.services.planning import enqueue
from app.services.transitions import move_request
from app.states import RequestState
from app.tables import Approval, DeletionRequest, Instance, LegalHold, RequestInstance

_IN_FORCE = (
    LegalHold.tenant_id == bindparam("tenant_id"),
    LegalHold.released_at.is_(None),
    or_(LegalHold.model_id.is_(None), LegalHold.model_id == bindparam("model_id")),
)
_ANY_HOLD = Prepared(select(LegalHold.id).where(*_IN_FORCE).limit(1))


def queue_or_park(session: Session, request: DeletionRequest, actor: str) -> None:
    """Queue the request, or park it where a hold names some of it. Raises IllegalTransition."""
    if not park_if_held(session, request, actor):
        enqueue(session, request, actor)


def park_if_held(session: Session, request: DeletionRequest, actor: str) -> bool:
    """Whether a hold names something of the request, which is then parked and says so."""
    holds = holds_on(session, request)
    if holds:
        told = {"holds": [hold.id for hold in holds]}
        why = why_parked(holds)
        move_request(session, request, RequestState.ON_HOLD, actor=actor, reason=why, payload=told)
    return bool(holds)


def resume(session: Session, request: DeletionRequest, actor: str, reason: str) -> None:
    """Let a parked request go on where it was: in the queue, or waiting for its approvers."""
    given = session.scalar(
        select(func.count()).select_from(Approval).where(Approval.request_id == request.id)
    )
    if (given or 0) < request.approvals_needed:
        move_request(session, request, RequestState.AWAITING_APPROVAL, actor=actor, reason=reason)
    else:
        enqueue(session, request, actor)


def anything_is_held(session: Session, request: DeletionRequest) -> bool:
    """Whether there are holds in force that could name something of the request."""
    whose = {"tenant_id": request.tenant_id, "model_id": request.model_id}
    return bool(_ANY_HOLD.rows(session, whose))


def holds_on(session: Session, request: DeletionRequest) -> list[LegalHold]:
    """The holds in force that name an instance or subject of the request, oldest first."""
    whose = {"tenant_id": request.tenant_id, "model_id": request.model_id}
    rows = select(LegalHold).where(*_IN_FORCE).order_by(LegalHold.id)
    holds = session.scalars(rows, whose).all()
    if not holds:
        return []
    instances = _named(session, request, Instance.instance_id, (h.instances for h in holds))
    subjects = _named(session, request, Instance.subject, (h.subjects for h in holds))
    return [
        hold
        for hold in holds
        if not instances.isdisjoint(hold.instances) or not subjects.isdisjoint(hold.subjects)
    ]


def why_parked(holds: Sequence[LegalHold]) -> str:
    """One sentence that names the holds and their grounds."""
    named = ", ".join(f"{hold.id} ({hold.ground})" for hold in holds)
    return f"under legal hold: {named}"


def _named(
    session: Session,
    request: DeletionRequest,
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
    asked: Iterable[Sequence[str]],
) -> set[str]:
    """Those of `asked` that the request's instances hold in this column."""
    values = sorted({value for some in asked for value in some})
    found: set[str] = set()
    for start in range(0, len(values), CHUNK):
        rows = (
            select(column)
            .join(RequestInstance, RequestInstance.instance_pk == Instance.pk)
            .where(
                RequestInstance.request_id == request.id,
                column.in_(values[start : start + CHUNK]),
            )
            .distinct()
        )
        found.update(value for value in session.scalars(rows) if value is not None)
    return found
