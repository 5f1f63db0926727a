"""Taking the next job from the queue, which is the table `jobs` itself."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.db import database_now
from app.ids import new_id
from app.schemas.models import Policy
from app.services import attempts
from app.services.attempts import Claim
from app.services.cells import promoted_version, with_cells_left
from app.services.intake import left_open_before
from app.services.planning import PRIORITY, RESERVE
from app.services.transitions import move_job, move_request
from app.states import JobState, RequestState
from app.tables import (
    Attempt,
    DeletionRequest,
    Job,
    Model,
    Version,
)


def claim(
    session: Session,
    worker: str,
    lease_seconds: float,
    *,
    workloads: Collection[str] | None = None,
) -> Claim | None:
    """The most urgent job that this worker can run, leased to it; see `in_order`.

    Only jobs of `workloads` are looked at (None: of any). The answer is None when nothing waits,
    and also when the job at the head of the queue turned out to need no run and was ended here.
    """
    now = database_now(session)
    passed: list[str] = []
    for waiting in in_order(now, workloads):
        while (seen := session.scalar(waiting.where(Job.id.not_in(passed)).limit(1))) is not None:
            # Rolling back to here gives up this tenant's ledger before the next one's is locked.
            turn = session.begin_nested()
            attempts.lock_ledger(session, seen.tenant_id)
            # Claims of one tenant take turns by its ledger, so a model never gets two active jobs;
            # the partial unique index is the second wall.
            job = session.scalar(
                waiting.where(Job.id == seen.id).with_for_update(
                    of=Job, key_share=True, skip_locked=True
                )
            )
            if job is not None:
                taken = _take(session, job, worker, lease_seconds)
                turn.commit()
                return taken
            passed.append(seen.id)
            turn.rollback()
    return None


def in_order(now: datetime, workloads: Collection[str] | None) -> Iterator[Select[Job]]:
    """Where to look for the next job: first what is quick, then what is pressing, then the rest.

    Descriptions have no deadline and take moments. What is due within `RESERVE` goes by its
    deadline alone, whatever its priority, so that nothing waits for ever behind what is more
    important. The rest goes by priority, and within one by deadline. Each is found by an index.
    """
    jobs = (
        select(Job)
        .where(Job.state == JobState.QUEUED, Job.not_before <= now, ~attempts.has_active_job())
        .execution_options(populate_existing=True)
    )
    if workloads is not None:
        jobs = jobs.join(Model, Model.id == Job.model_id).where(Model.workload.in_(workloads))
    yield jobs.where(Job.due_at.is_(None)).order_by(Job.id)
    yield jobs.where(Job.due_at < now + RESERVE).order_by(Job.due_at, Job.id)
    for priority in sorted(PRIORITY.values(), reverse=True):
        yield jobs.where(Job.priority == priority).order_by(Job.due_at, Job.id)


def _take(session: Session, job: Job, worker: str, lease_seconds: float) -> Claim | None:
    actor = attempts.actor(worker)
    requests = attempts.requests_of(session, job, (RequestState.QUEUED,))
    if job.kind == "unlearn" and not requests:
        attempts.finish(
            session, job, JobState.CANCELLED, actor=actor, reason="no request is left in it"
        )
        return None
    now = database_now(session)
    job.fence += 1
    job.attempts += 1
    job.lease_owner = worker
    job.lease_expires_at = now + timedelta(seconds=lease_seconds)
    job.started_at = job.started_at or now
    session.add(
        Attempt(id=new_id("att"), job_id=job.id, fence=job.fence, worker=worker, started_at=now)
    )
    move_job(session, job, JobState.LEASED, actor=actor, payload={"fence": job.fence})
    if job.kind == "unlearn" and not _begin_requests(session, job, requests, actor):
        return None
    return Claim(job.id, job.fence, worker, job.tenant_id, job.model_id, job.kind)


def _begin_requests(
    session: Session, job: Job, requests: list[DeletionRequest], actor: str
) -> bool:
    """Fix the parent and start the requests; False if that already ended the job."""
    model = session.get_one(Model, job.model_id)
    alias = Policy.model_validate(model.policy).promote_alias
    parent = promoted_version(session, model)
    if parent is None:
        reason = f"the model's alias {alias!r} names no version to forget from"
        attempts.close(session, job, "failed", reason)
        attempts.finish_failed(session, job, actor=actor, reason=reason)
        return False
    job.parent_version_id = parent.id
    cells_left = with_cells_left(session, requests, parent)
    left = False
    failed: str | None = None
    for request in requests:
        if request.root_id != parent.root_id:
            failed = (
                f"its instances were found in the manifest of {request.root_id}, but {alias!r} now"
                f" names a descendant of {parent.root_id}: send the request again"
            )
            move_request(session, request, RequestState.FAILED, actor=actor, reason=failed)
            continue
        move_request(
            session, request, RequestState.IN_PROGRESS, actor=actor, payload={"job": job.id}
        )
        if request.id in cells_left:
            left = True
        else:
            _complete_forgotten(session, request, parent, actor)
    if left:
        return True
    attempts.close(session, job, "failed" if failed else "succeeded", failed)
    if failed:
        attempts.finish_failed(session, job, actor=actor, reason=failed)
    else:
        move_job(session, job, JobState.RUNNING, actor=actor)
        attempts.finish(
            session,
            job,
            JobState.SUCCEEDED,
            actor=actor,
            reason="the parent had forgotten every cell already",
        )
    return False


def _complete_forgotten(
    session: Session, request: DeletionRequest, parent: Version, actor: str
) -> None:
    """End a request whose cells earlier ones had removed; what those left open stays open."""
    left_open = left_open_before(session, request.id, parent.id, request.tasks)
    request.version_id = parent.id
    request.exceptions = left_open
    with_exceptions = left_open or request.unknown_instances
    move_request(session, request, RequestState.VERIFYING, actor=actor)
    move_request(
        session,
        request,
        RequestState.COMPLETED_WITH_EXCEPTIONS if with_exceptions else RequestState.COMPLETED,
        actor=actor,
        reason="an earlier request had all of it forgotten",
        payload={"version": parent.id},
    )
