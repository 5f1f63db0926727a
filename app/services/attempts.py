"""The edges of an attempt: the claim that a worker holds, the fence in front of every write of it.

Whoever writes to a tenant's ledger and locks jobs or requests in one transaction takes the ledger
first: with one order for all, two transactions never wait for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.elements import ColumnElement

from app import ledger
from app.db import database_now
from app.services.transitions import move_job, move_request
from app.states import ACTIVE_JOB, JobState, RequestState
from app.tables import Attempt, DeletionRequest, Job, JobRequest, OutboxMessage

IN_WORK = (RequestState.IN_PROGRESS, RequestState.VERIFYING)


class Fenced(Exception):
    """The job has gone on without this worker: nothing was written, and nothing may be."""

    def __init__(self, claim: "Claim") -> None:
        super().__init__(f"job {claim.job_id} no longer belongs to fence {claim.fence}")


@dataclass(frozen=True)
class Claim:
    """One worker's hold on one job."""

    job_id: str
    fence: int
    """The token that every write of this attempt must show."""
    worker: str
    tenant_id: str
    model_id: str
    kind: str
    """`unlearn` or `describe`."""

    @property
    def actor(self) -> str:
        """How the ledger names the worker."""
        return actor(self.worker)


def actor(worker: str) -> str:
    """How the ledger names a worker."""
    return f"worker:{worker}"


def lock_ledger(session: Session, tenant_id: str) -> None:
    """Take the tenant's turn to write, until the transaction ends."""
    ledger.lock(session, tenant_id)


def enter(session: Session, claim: Claim) -> Job:
    """The job, locked after its tenant's ledger; raises Fenced if it is not ours."""
    lock_ledger(session, claim.tenant_id)
    return lock_job(session, claim)


def lock_job(session: Session, claim: Claim) -> Job:
    """The job, locked; raises Fenced if it is not ours."""
    job = session.scalar(
        select(Job)
        .where(Job.id == claim.job_id, Job.fence == claim.fence, Job.state.in_(ACTIVE_JOB))
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if job is None:
        raise Fenced(claim)
    return job


def has_active_job() -> ColumnElement[bool]:
    """Whether another job of a job's model is being worked on.

    The few models at work are listed once: PostgreSQL cannot tell how many jobs an anti-join leaves
    over, and would read and sort the whole queue.
    """
    other = aliased(Job)
    return Job.model_id.in_(select(other.model_id).where(other.state.in_(ACTIVE_JOB)))


def requests_of(
    session: Session, job: Job, states: Sequence[RequestState]
) -> list[DeletionRequest]:
    """The job's requests in one of these states, in the order they came."""
    return list(
        session.scalars(
            select(DeletionRequest)
            .join(JobRequest, JobRequest.request_id == DeletionRequest.id)
            .where(JobRequest.job_id == job.id, DeletionRequest.state.in_(states))
            .order_by(DeletionRequest.id)
            .execution_options(populate_existing=True)
        )
    )


def close(
    session: Session, job: Job, outcome: str, error: str | None = None, log: str | None = None
) -> None:
    """End the running attempt and its lease; the job's own state is the caller's."""
    attempt = session.scalars(
        select(Attempt).where(Attempt.job_id == job.id, Attempt.fence == job.fence)
    ).one()
    attempt.ended_at = database_now(session)
    attempt.outcome, attempt.error, attempt.log = outcome, error, log
    job.lease_owner = job.lease_expires_at = None
    job.progress = None
    if error is not None:
        job.last_error = error


def finish(
    session: Session,
    job: Job,
    to: JobState,
    *,
    actor: str,
    reason: str | None = None,
    payload: dict[str, str] | None = None,
) -> None:
    """Bring a job to its end and wake whatever waited for its model."""
    move_job(session, job, to, actor=actor, reason=reason, payload=payload)
    job.finished_at = database_now(session)
    waiting = select(Job).where(Job.model_id == job.model_id, Job.state == JobState.QUEUED)
    for other in session.scalars(waiting):
        ring(session, other)


def finish_failed(session: Session, job: Job, *, actor: str, reason: str) -> None:
    """End a job that nobody will attempt again, and its requests with it."""
    for request in requests_of(session, job, (RequestState.QUEUED, *IN_WORK)):
        move_request(session, request, RequestState.FAILED, actor=actor, reason=reason)
    finish(session, job, JobState.FAILED, actor=actor, reason=reason)


def cancel(session: Session, job: Job, actor: str, log: str | None) -> None:
    """End a job that somebody cancelled, its engine being gone, and its requests with it."""
    close(session, job, "cancelled", log=log)
    for request in requests_of(session, job, IN_WORK):
        why = f"its job {job.id} was cancelled"
        move_request(session, request, RequestState.CANCELLED, actor=actor, reason=why)
    finish(session, job, JobState.CANCELLED, actor=actor)


def requeue(
    session: Session, job: Job, *, actor: str, reason: str, after_seconds: float = 0
) -> None:
    """Let another attempt have the job, its requests waiting again."""
    move_job(session, job, JobState.QUEUED, actor=actor, reason=reason)
    for request in requests_of(session, job, IN_WORK):
        move_request(session, request, RequestState.QUEUED, actor=actor, reason=reason)
    job.not_before = database_now(session) + timedelta(seconds=after_seconds)
    ring(session, job)


def ring(session: Session, job: Job) -> None:
    """Leave a message in the outbox: this job can be claimed, once its time has come."""
    session.add(OutboxMessage(job_id=job.id, created_at=database_now(session)))
