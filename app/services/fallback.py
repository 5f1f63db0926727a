"""What follows an audit that did not pass: the policy's other method, once, for the same cells."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app import ledger
from app.db import database_now
from app.ids import new_id
from app.schemas.models import Policy
from app.services import attempts
from app.services.ancestry import ancestor_of
from app.services.transitions import move_request
from app.states import JobState, RequestState
from app.tables import DeletionRequest, Job, JobRequest, Model, Version
from engine.spec import Verdict


def try_fallback(
    session: Session,
    job: Job,
    requests: Sequence[DeletionRequest],
    version: Version,
    verdict: Verdict,
    actor: str,
) -> Job | None:
    """Put the requests of a job whose version did not pass into a new one; None: nothing to try.

    Its version stays what the verdict made it. The requests must be `verifying`; they are `queued`
    then, and have no outcome yet.
    """
    method = _method(session, job)
    if verdict == "pass" or method is None:
        return None
    now = database_now(session)
    job_id = new_id("job")
    following = Job(
        id=job_id,
        tenant_id=job.tenant_id,
        model_id=job.model_id,
        kind="unlearn",
        state=JobState.QUEUED,
        priority=job.priority,
        due_at=job.due_at,
        not_before=now,
        method=method,
        fallback_of=job.id,
        seed=int(job_id[-7:], 16),  # as of any job: the id's end is random
        created_at=now,
    )
    session.add(following)
    session.flush()
    told = {"kind": following.kind, "model": job.model_id, "method": method, "fallback_of": job.id}
    ledger.append(session, job.tenant_id, f"job.{JobState.QUEUED}", job_id, actor, told)
    reason = (
        f"the audit of version {version.number}, made by {job.method!r}, says {verdict!r}:"
        f" {method!r} is tried next"
    )
    for request in requests:
        session.add(JobRequest(job_id=job_id, request_id=request.id))
        move_request(
            session,
            request,
            RequestState.QUEUED,
            actor=actor,
            reason=reason,
            payload={"job": job_id, "version": version.id},
        )
    session.flush()
    attempts.ring(session, following)
    return following


def _method(session: Session, job: Job) -> str | None:
    """The method to try after this job's; None after a fallback, or where there is no better."""
    policy = Policy.model_validate(session.get_one(Model, job.model_id).policy)
    method = policy.fallback
    if method == "none" or job.fallback_of is not None or job.method in ("retrain", method):
        return None
    parent = session.get_one(Version, job.parent_version_id)
    if method == "rewind" and ancestor_of(session, job, parent) is None:
        return None
    return method
