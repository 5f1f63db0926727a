"""Legal holds (GDPR Art. 17(3)): what must not be erased for now; placed and released by people."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app import ledger
from app.db import database_now
from app.ids import new_id
from app.problems import Conflict, Invalid
from app.schemas.legal_holds import NewLegalHold
from app.services import attempts, parking
from app.services.approval import touch
from app.services.attempts import IN_WORK, lock_ledger
from app.services.cancellation import live_job, others_in
from app.services.cells import CHUNK
from app.services.lookup import find_model, owned
from app.services.transitions import move_job
from app.states import ACTIVE_JOB, JobState, RequestState
from app.tables import (
    DeletionRequest,
    Instance,
    JobRequest,
    LegalHold,
    RequestInstance,
    Version,
)

_UNDECIDED = (RequestState.AWAITING_APPROVAL, RequestState.QUEUED, *IN_WORK)


def place(session: Session, tenant_id: str, actor: str, body: NewLegalHold) -> LegalHold:
    """The new hold; every unfinished request that it touches is parked.

    A job at work for such a request is taken from its worker and queued again for its other
    requests. 422 for ids that no manifest knows.
    """
    lock_ledger(session, tenant_id)
    model_id = find_model(session, tenant_id, body.model).id if body.model else None
    for name, column, asked in (
        ("instances", Instance.instance_id, body.instances),
        ("subjects", Instance.subject, body.subjects),
    ):
        _check_known(session, tenant_id, model_id, name, column, asked)
    hold = LegalHold(
        id=new_id("hold"),
        tenant_id=tenant_id,
        model_id=model_id,
        instances=list(dict.fromkeys(body.instances)),
        subjects=list(dict.fromkeys(body.subjects)),
        ground=body.ground,
        reason=body.reason,
        placed_by=actor,
        placed_at=database_now(session),
    )
    session.add(hold)
    session.flush()
    told = {
        "model": model_id,
        "instances": len(hold.instances),
        "subjects": len(hold.subjects),
        "ground": hold.ground,
        "reason": hold.reason,
    }
    ledger.append(session, tenant_id, "legal_hold.placed", hold.id, actor, told)
    for request in _touched(session, hold, _UNDECIDED):
        _park(session, request, actor)
    return hold


def release(session: Session, tenant_id: str, hold_id: str, actor: str, reason: str) -> LegalHold:
    """End a hold; requests that it alone had parked go on by themselves. 409 the second time."""
    lock_ledger(session, tenant_id)
    hold = owned(session, tenant_id, LegalHold, hold_id)
    session.refresh(hold)
    if hold.released_at is not None:
        detail = f"legal hold {hold.id} was released on {hold.released_at.isoformat()}"
        raise Conflict("illegal-state", detail, state="released")
    hold.released_at = database_now(session)
    hold.released_by, hold.release_reason = actor, reason
    session.flush()
    told = {"reason": reason}
    ledger.append(session, tenant_id, "legal_hold.released", hold.id, actor, told)
    for request in _touched(session, hold, (RequestState.ON_HOLD,)):
        left = parking.holds_on(session, request)
        if left:
            request.state_reason = parking.why_parked(left)
            touch(session, request)
        else:
            parking.resume(session, request, actor, f"legal hold {hold.id} was released: {reason}")
    return hold


def page(
    session: Session, tenant_id: str, limit: int, after: str | None, *, active: bool | None
) -> Sequence[LegalHold]:
    """The tenant's holds, newest first, behind the id `after`; all, or by whether in force."""
    rows = select(LegalHold).where(LegalHold.tenant_id == tenant_id)
    if active is not None:  # in just these words, by which an index of those in force is found
        released = LegalHold.released_at
        rows = rows.where(released.is_(None) if active else released.is_not(None))
    if after is not None:
        rows = rows.where(LegalHold.id < after)
    return session.scalars(rows.order_by(LegalHold.id.desc()).limit(limit)).all()


def _park(session: Session, request: DeletionRequest, actor: str) -> None:
    """Take the request out of its job, which ends where it serves nobody else, and park it."""
    job = live_job(session, request)
    if job is not None and job.state == JobState.CANCELLING:
        return  # its requests end with it
    if job is not None and job.state in ACTIVE_JOB:
        why = "one of its requests came under legal hold"
        attempts.close(session, job, "returned")
        job.attempts -= 1
        attempts.requeue(session, job, actor=actor, reason=why)
        session.flush()
    parking.park_if_held(session, request, actor)
    if job is not None:
        session.delete(session.get_one(JobRequest, (job.id, request.id)))
        if not others_in(session, job, request):
            move_job(session, job, JobState.CANCELLED, actor=actor, reason="no request is left")
            job.finished_at = database_now(session)


def _touched(
    session: Session, hold: LegalHold, states: Sequence[RequestState]
) -> list[DeletionRequest]:
    """The requests in one of these states that name something which the hold names."""
    rows = select(DeletionRequest.id).where(
        DeletionRequest.tenant_id == hold.tenant_id, DeletionRequest.state.in_(states)
    )
    if hold.model_id is not None:
        rows = rows.where(DeletionRequest.model_id == hold.model_id)
    rows = (
        rows.join(RequestInstance, RequestInstance.request_id == DeletionRequest.id)
        .join(Instance, Instance.pk == RequestInstance.instance_pk)
        .distinct()
    )
    ids: set[str] = set()
    for column, named in (
        (Instance.instance_id, hold.instances),
        (Instance.subject, hold.subjects),
    ):
        for start in range(0, len(named), CHUNK):
            ids.update(session.scalars(rows.where(column.in_(named[start : start + CHUNK]))))
    return [
        session.get_one(DeletionRequest, request_id, populate_existing=True)
        for request_id in sorted(ids)
    ]


def _check_known(
    session: Session,
    tenant_id: str,
    model_id: str | None,
    name: str,
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
    asked: Sequence[str],
) -> None:
    mine = Version.tenant_id == tenant_id
    if model_id is not None:
        mine &= Version.model_id == model_id
    known: set[str | None] = set()
    for start in range(0, len(asked), CHUNK):
        rows = (
            select(column)
            .join(Version, Version.id == Instance.root_id)
            .where(mine, column.in_(asked[start : start + CHUNK]))
            .distinct()
        )
        known.update(session.scalars(rows))
    for index, one in enumerate(asked):
        if one not in known:
            raise Invalid(
                f"#/{name}/{index}", f"{one!r} is in no manifest", slug="unknown-instances"
            )
