"""Requests become jobs: those of one model that wait together share one engine run.

SQL is the queue. A request joins the model's queued job for as long as no worker has claimed it;
otherwise it opens the next one. The outbox row beside a new job is only the doorbell.
"""

from datetime import datetime, timedelta

from sqlalchemy import bindparam, exists, select
from sqlalchemy.orm import Session

from app import ledger
from app.db import database_now
from app.ids import new_id
from app.prepared import Prepared, adopted, columns
from app.schemas.models import Policy
from app.services.attempts import lock_ledger
from app.services.cells import promoted_version
from app.services.estimation import forecast
from app.services.job_loads import load_of_job
from app.services.resolution import Found
from app.services.transitions import move_request
from app.states import JobState, RequestState
from app.tables import DeletionRequest, Job, JobRequest, Model, OutboxMessage

PRIORITY = {"low": -1, "normal": 0, "high": 1}
"""A request's priority as its job's; a job takes the highest of its requests."""

RESERVE = timedelta(days=3)
"""What a job is to have before its first deadline: from then on no window keeps it, and it goes
before jobs of any priority that are due later."""


def lock_queue(session: Session, tenant_id: str, model_id: str, root_id: str) -> Job | None:
    """The model's queued job that a request against this root may join, if there is one.

    Takes the tenant's turn to write first, so that two requests cannot both find no job and open
    two; then locks the job, so that no worker claims it before the caller commits.
    """
    lock_ledger(session, tenant_id)
    session.flush()
    found = _JOINABLE_LOCKED.rows(session, {"model_id": model_id, "root_id": root_id})
    return adopted(session, Job, found[0]) if found else None


def joinable_job(session: Session, model_id: str, root_id: str) -> Job | None:
    """The oldest queued unlearning job of the model whose requests are against this root.

    Not a fallback's: its method was chosen for the requests that it has.
    """
    rows = _JOINABLE.with_only_columns(Job)
    return session.scalar(rows, {"model_id": model_id, "root_id": root_id})


_JOINABLE = (
    select(*columns(Job))
    .where(
        Job.model_id == bindparam("model_id"),
        Job.state == JobState.QUEUED,
        Job.kind == "unlearn",
        Job.fallback_of.is_(None),
        exists()
        .where(JobRequest.job_id == Job.id)
        .where(
            JobRequest.request_id == DeletionRequest.id,
            DeletionRequest.root_id == bindparam("root_id"),
        ),
    )
    .order_by(Job.id)
    .limit(1)
)
_JOINABLE_LOCKED = Prepared(_JOINABLE.with_for_update())


def enqueue(session: Session, request: DeletionRequest, actor: str) -> Job:
    """Join or open the model's queued job and move the request to `queued`.

    Job, request, ledger events and doorbell are written in the caller's transaction. Raises
    IllegalTransition.
    """
    job = plan(session, request, actor)
    if session.get(JobRequest, (job.id, request.id)) is None:
        session.add(JobRequest(job_id=job.id, request_id=request.id))
    return job


def plan(session: Session, request: DeletionRequest, actor: str, found: Found | None = None) -> Job:
    """The same, but for the row that joins them, which the caller writes.

    `found` is what a new request names, where that is at hand and not on record.
    """
    job = lock_queue(session, request.tenant_id, request.model_id, request.root_id)
    if job is None:
        job = _open_job(session, request, actor)
    else:
        # Only what changes is set: a row that is set to what it is would be looked through again.
        more_urgent = PRIORITY[request.priority] > job.priority
        if more_urgent:
            job.priority = PRIORITY[request.priority]
        if job.due_at is None or request.due_at < job.due_at:
            job.due_at = request.due_at
        closes = _closes(request, job.not_before)
        if job.attempts == 0 and closes < job.not_before:  # else it waits after a failure
            job.not_before = closes
    reason = _estimate(session, job, request, found)
    told = {"job": job.id, **({"method": job.method} if reason else {})}
    move_request(session, request, RequestState.QUEUED, actor=actor, reason=reason, payload=told)
    return job


def _estimate(
    session: Session, job: Job, request: DeletionRequest, found: Found | None
) -> str | None:
    """Keep what the job would cost now; why it is to retrain, where that makes it do so."""
    model = session.get_one(Model, request.model_id)
    version = found.target.version if found else promoted_version(session, model)
    if version is None:
        return None
    load = load_of_job(session, version, job, request, found.keys if found else None)
    planned = forecast(session, model, version, load)
    request.forecast = planned.model_dump(mode="json")
    policy = Policy.model_validate(model.policy)
    if planned.proposal is None or policy.when_retraining_is_cheaper != "retrain":
        return None
    job.method = "retrain"
    return planned.proposal


def describe(session: Session, model: Model, actor: str) -> Job:
    """Queue the run that asks a model's workload what its network and tasks look like."""
    now = database_now(session)
    job = Job(
        id=new_id("job"),
        tenant_id=model.tenant_id,
        model_id=model.id,
        kind="describe",
        state=JobState.QUEUED,
        priority=PRIORITY["high"],
        not_before=now,
        seed=0,
        created_at=now,
    )
    _add(session, job, actor)
    return job


def _open_job(session: Session, request: DeletionRequest, actor: str) -> Job:
    model = session.get_one(Model, request.model_id)
    policy = Policy.model_validate(model.policy)
    now = database_now(session)
    job_id = new_id("job")
    job = Job(
        id=job_id,
        tenant_id=request.tenant_id,
        model_id=request.model_id,
        kind="unlearn",
        state=JobState.QUEUED,
        priority=PRIORITY[request.priority],
        due_at=request.due_at,
        not_before=max(now, _closes(request, now + timedelta(seconds=policy.window_seconds))),
        method=policy.method,
        seed=int(job_id[-7:], 16),  # the id's end is random, so the seed is, and it is on record
        created_at=now,
    )
    _add(session, job, actor)
    return job


def _closes(request: DeletionRequest, at: datetime) -> datetime:
    """When a window that would close at `at` closes for this request: what is urgent skips it."""
    if PRIORITY[request.priority] >= PRIORITY["high"]:
        return request.created_at
    return min(at, request.due_at - RESERVE)


def _add(session: Session, job: Job, actor: str) -> None:
    session.add(job)
    session.flush()
    session.add(OutboxMessage(job_id=job.id, created_at=job.created_at))
    told = {"kind": job.kind, "model": job.model_id}
    ledger.append(session, job.tenant_id, f"job.{JobState.QUEUED}", job.id, actor, told)
