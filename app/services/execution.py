"""What a worker tells the database of its attempt while it lasts, and when it ends badly.

Every function is fenced: it raises `Fenced`, having written nothing, when the job has gone on
without this worker (`renew` answers `Order.LOST` instead). `completion` holds the good ends.
"""

from datetime import timedelta
from enum import Enum, auto

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import database_now
from app.services import attempts
from app.services.attempts import Claim, Fenced, cancel
from app.services.transitions import move_job, move_request
from app.states import ACTIVE_JOB, JobState, RequestState
from app.tables import Job
from engine.spec import Progress

_REAPER = "reaper"


class Order(Enum):
    """What the database tells a worker at each sign of life."""

    GO_ON = auto()
    CANCEL = auto()
    """Somebody cancelled the job: stop the engine, then call `cancelled`."""
    LOST = auto()
    """The lease ran out and the job went on without us: stop the engine, write nothing."""


def renew(session: Session, claim: Claim, lease_seconds: float, progress: Progress | None) -> Order:
    """Extend the lease and show how far the engine is; its first line makes the job `running`."""
    # Only this worker makes the moves below, so what is read before the lock holds after it.
    state = session.scalar(select(Job.state).where(Job.id == claim.job_id))
    starts = progress is not None and state == JobState.LEASED
    verifies = progress is not None and progress.phase == "audit"
    if starts or verifies:
        attempts.lock_ledger(session, claim.tenant_id)
    try:
        job = attempts.lock_job(session, claim)
    except Fenced:
        return Order.LOST
    job.lease_expires_at = database_now(session) + timedelta(seconds=lease_seconds)
    if progress is not None:
        job.progress = progress.model_dump(exclude={"event"})
    if job.state == JobState.CANCELLING:
        return Order.CANCEL
    if starts:
        move_job(session, job, JobState.RUNNING, actor=claim.actor)
    if verifies:
        for request in attempts.requests_of(session, job, (RequestState.IN_PROGRESS,)):
            move_request(session, request, RequestState.VERIFYING, actor=claim.actor)
    return Order.GO_ON


def fail(
    session: Session,
    claim: Claim,
    error: str,
    log: str | None,
    *,
    final: bool,
    max_attempts: int,
    retry_seconds: float = 0,
) -> JobState:
    """End the attempt as failed; the job's state afterwards.

    `final` says that another attempt would fail in the same way. Otherwise the job is queued again
    until its attempts are spent, the first time after `retry_seconds`, later after a multiple.
    """
    job = attempts.enter(session, claim)
    if job.state == JobState.CANCELLING:
        cancel(session, job, claim.actor, log)
        return JobState.CANCELLED
    attempts.close(session, job, "failed", error, log)
    if final or job.attempts >= max_attempts:
        attempts.finish_failed(session, job, actor=claim.actor, reason=error)
    else:
        wait = retry_seconds * job.attempts
        attempts.requeue(session, job, actor=claim.actor, reason=error, after_seconds=wait)
    return JobState(job.state)


def cancelled(session: Session, claim: Claim, log: str | None) -> None:
    """The engine is gone, as somebody asked: end the job and its requests."""
    cancel(session, attempts.enter(session, claim), claim.actor, log)


def give_back(session: Session, claim: Claim) -> None:
    """Return the job at once because this worker shuts down; the attempt does not count."""
    job = attempts.enter(session, claim)
    if job.state == JobState.CANCELLING:
        cancel(session, job, claim.actor, None)
        return
    attempts.close(session, job, "returned")
    job.attempts -= 1
    attempts.requeue(session, job, actor=claim.actor, reason="its worker shut down")


def reap(session: Session, *, max_attempts: int) -> bool:
    """Take one job from a worker whose lease has run out, by the database's clock; whether one was.

    One a transaction, so that no two tenants' ledgers are held at once.
    """
    expired = (
        select(Job)
        .where(Job.state.in_(ACTIVE_JOB), Job.lease_expires_at < database_now(session))
        .execution_options(populate_existing=True)
    )
    seen = session.scalar(expired.order_by(Job.lease_expires_at).limit(1))
    if seen is None:
        return False
    attempts.lock_ledger(session, seen.tenant_id)
    job = session.scalar(
        expired.where(Job.id == seen.id).with_for_update(key_share=True, skip_locked=True)
    )
    if job is not None:  # else its worker has come back in this moment
        _take_away(session, job, max_attempts)
    return True


def _take_away(session: Session, job: Job, max_attempts: int) -> None:
    if job.state == JobState.CANCELLING:
        cancel(session, job, _REAPER, None)
        return
    error = f"worker {job.lease_owner} stopped answering and its lease ran out"
    attempts.close(session, job, "lost", error)
    if job.attempts >= max_attempts:
        attempts.finish_failed(session, job, actor=_REAPER, reason=error)
    else:
        attempts.requeue(session, job, actor=_REAPER, reason=error)
