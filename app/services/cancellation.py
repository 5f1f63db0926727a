"""Withdrawing requests and stopping jobs, without undoing what others asked for."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import database_now
from app.problems import Conflict
from app.services.approval import locked_request, touch
from app.services.attempts import IN_WORK, lock_ledger
from app.services.lookup import owned
from app.services.transitions import move_job, move_request
from app.states import FINISHED_JOB, FINISHED_REQUEST, JobState, RequestState
from app.tables import DeletionRequest, Job, JobRequest


def cancel(
    session: Session, tenant_id: str, request_id: str, actor: str, reason: str | None
) -> DeletionRequest:
    """Withdraw a request.

    A waiting one ends at once, and its queued job with it if that served nobody else. Of one that a
    worker is busy with, the job is cancelled: the request ends when the worker has stopped. Where
    the job serves other requests too, 409: nobody's request is undone by another's withdrawal.
    """
    request = locked_request(session, tenant_id, request_id)
    job = live_job(session, request)
    if request.state not in IN_WORK or job is None:
        move_request(session, request, RequestState.CANCELLED, actor=actor, reason=reason)
        if job is not None and not others_in(session, job, request):
            move_job(session, job, JobState.CANCELLED, actor=actor, reason="no request is left")
            job.finished_at = database_now(session)
        return request
    others = others_in(session, job, request)
    if others:
        raise Conflict(
            "job-shared",
            f"job {job.id} is at work and serves {others} more"
            f" {'request' if others == 1 else 'requests'}: wait for its end, or cancel the job",
            state=request.state,
            job=job.id,
        )
    if job.state != JobState.CANCELLING:
        move_job(session, job, JobState.CANCELLING, actor=actor, reason=reason)
        request.state_reason = "being cancelled: its worker is told to stop"
        touch(session, request)
    return request


def cancel_job(session: Session, tenant_id: str, job_id: str, actor: str) -> Job:
    """Stop a job: a queued one at once, with its requests, a running one as soon as it can."""
    lock_ledger(session, tenant_id)
    owned(session, tenant_id, Job, job_id)
    job = session.scalars(
        select(Job)
        .where(Job.id == job_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if job.state != JobState.QUEUED:
        move_job(session, job, JobState.CANCELLING, actor=actor)
        return job
    move_job(session, job, JobState.CANCELLED, actor=actor)
    job.finished_at = database_now(session)
    waiting = (
        select(DeletionRequest)
        .join(JobRequest, JobRequest.request_id == DeletionRequest.id)
        .where(JobRequest.job_id == job.id, DeletionRequest.state == RequestState.QUEUED)
        .order_by(DeletionRequest.id)
    )
    for request in session.scalars(waiting).all():
        why = f"its job {job.id} was cancelled"
        move_request(session, request, RequestState.CANCELLED, actor=actor, reason=why)
    return job


def live_job(session: Session, request: DeletionRequest) -> Job | None:
    """The unfinished job that serves the request, locked."""
    return session.scalar(
        select(Job)
        .join(JobRequest, JobRequest.job_id == Job.id)
        .where(
            JobRequest.request_id == request.id,
            Job.state.not_in(FINISHED_JOB),
        )
        .order_by(Job.id.desc())
        .limit(1)
        .with_for_update(of=Job)
        .execution_options(populate_existing=True)
    )


def others_in(session: Session, job: Job, request: DeletionRequest) -> int:
    """Requests besides this one that the job still serves."""
    return (
        session.scalar(
            select(func.count())
            .select_from(JobRequest)
            .join(DeletionRequest, DeletionRequest.id == JobRequest.request_id)
            .where(
                JobRequest.job_id == job.id,
                DeletionRequest.id != request.id,
                DeletionRequest.state.not_in(FINISHED_REQUEST),
            )
        )
        or 0
    )
