"""Jobs as callers see them, a page at a time."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.schemas.jobs import AttemptView, Cost, JobProgress, JobView
from app.schemas.models import ModelRef
from app.services.lookup import find_model
from app.states import JobState
from app.tables import Attempt, Job, JobRequest, Model, Version


def list_jobs(
    session: Session,
    tenant_id: str,
    *,
    limit: int,
    before_id: str | None = None,
    state: JobState | None = None,
    model: str | None = None,
) -> Sequence[Job]:
    """Up to `limit` of the tenant's jobs, newest first, older than `before_id`."""
    rows = select(Job).where(Job.tenant_id == tenant_id)
    if before_id is not None:
        rows = rows.where(Job.id < before_id)
    if state is not None:
        rows = rows.where(Job.state == state)
    if model is not None:
        rows = rows.where(Job.model_id == find_model(session, tenant_id, model).id)
    return session.scalars(rows.order_by(Job.id.desc()).limit(limit)).all()


def views(session: Session, jobs: Sequence[Job]) -> list[JobView]:
    """Jobs as callers see them, in the order given."""
    ids = [job.id for job in jobs]
    names = dict(
        session.execute(
            select(Model.id, Model.name).where(Model.id.in_({job.model_id for job in jobs}))
        ).all()
    )
    made = dict(
        session.execute(select(Version.job_id, Version.id).where(Version.job_id.in_(ids))).all()
    )
    requests: dict[str, list[str]] = defaultdict(list)
    for link in session.scalars(
        select(JobRequest).where(JobRequest.job_id.in_(ids)).order_by(JobRequest.request_id)
    ):
        requests[link.job_id].append(link.request_id)
    attempts: dict[str, list[AttemptView]] = defaultdict(list)
    for attempt in session.scalars(
        select(Attempt).where(Attempt.job_id.in_(ids)).order_by(Attempt.fence)
    ):
        attempts[attempt.job_id].append(AttemptView.model_validate(attempt, from_attributes=True))
    return [
        JobView(
            id=job.id,
            model=ModelRef(id=job.model_id, name=names[job.model_id]),
            kind="unlearn" if job.kind == "unlearn" else "describe",
            state=JobState(job.state),
            method=job.method,
            fallback_of=job.fallback_of,
            parent_version=job.parent_version_id,
            version=made.get(job.id),
            requests=requests[job.id],
            progress=JobProgress.model_validate(job.progress) if job.progress else None,
            attempts=attempts[job.id],
            cost=Cost.model_validate(job.cost) if job.cost else None,
            last_error=job.last_error,
            due_at=job.due_at,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )
        for job in jobs
    ]


def log_of(session: Session, job: Job) -> str:
    """The tail of what the engine wrote to standard error, attempt by attempt."""
    rows = session.execute(
        select(Attempt.fence, Attempt.worker, Attempt.log)
        .where(Attempt.job_id == job.id, Attempt.log.is_not(None))
        .order_by(Attempt.fence)
    )
    return "".join(f"--- attempt {fence} on {worker}\n{log}\n" for fence, worker, log in rows)
