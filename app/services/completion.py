"""A job's good end: the engine's result becomes a version, an audit, receipts and new states.

All of it is one fenced transaction: either everything of a result is there, or nothing.
"""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import ledger
from app.db import database_now
from app.ids import new_id
from app.services import attempts
from app.services.attempts import IN_WORK, Claim
from app.services.cells import record_forgotten
from app.services.evidence import cells_by_request, issue_receipts
from app.services.fallback import try_fallback
from app.services.promotion import promote
from app.services.stored_weights import Delta
from app.services.transitions import move_job, move_request
from app.signing import Signer
from app.states import JobState, RequestState, VersionState
from app.storage import Storage
from app.tables import Audit, DeletionRequest, Job, JsonObject, Model, Version
from engine.spec import CellAudit, JobResult, WorkloadDescription


def succeed(
    session: Session,
    claim: Claim,
    result: JobResult,
    storage: Storage,
    signer: Signer,
    delta: Delta | None = None,
) -> Version | None:
    """The version that the result became; its weights, or their delta, must be in `storage`.

    The requests have their outcome and receipt then, or wait for the policy's fallback.
    None if the job was cancelled meanwhile: then nothing of the result is kept. Raises Fenced.
    """
    stored = delta.sha256 if delta else result.weights_sha256
    if not storage.exists(stored):
        raise FileNotFoundError(f"weights {stored} are not in storage")
    job = attempts.enter(session, claim)
    if job.state == JobState.CANCELLING:
        attempts.cancel(session, job, claim.actor, None)
        return None
    requests = attempts.requests_of(session, job, IN_WORK)
    _show_running(session, job, claim)
    for request in requests:
        if request.state == RequestState.IN_PROGRESS:
            move_request(session, request, RequestState.VERIFYING, actor=claim.actor)
    version = _add_version(session, job, claim, result, delta)
    record_forgotten(session, version, requests)
    _add_audit(session, version, job, result)
    model = session.get_one(Model, job.model_id)
    verdict = result.audit.verdict
    promoted = promote(session, version, verdict, model, claim.actor)
    if promoted or try_fallback(session, job, requests, version, verdict, claim.actor) is None:
        audited = cells_by_request(result.audit)
        for request in requests:
            _complete(session, request, version, result, audited[request.id], promoted, claim)
        issue_receipts(session, requests, version, result, signer)
    job.cost = result.model_dump(
        mode="json",
        include={
            "seconds",
            "gradient_evaluations",
            "training_seconds",
            "share_of_retraining",
            "load",
        },
    )
    attempts.close(session, job, "succeeded")
    attempts.finish(
        session, job, JobState.SUCCEEDED, actor=claim.actor, payload={"version": version.id}
    )
    return version


def describe_done(session: Session, claim: Claim, description: WorkloadDescription) -> None:
    """Write down what a model's workload looks like, and end the job that asked. Raises Fenced."""
    job = attempts.enter(session, claim)
    if job.state == JobState.CANCELLING:
        attempts.cancel(session, job, claim.actor, None)
        return
    _show_running(session, job, claim)
    model = session.get_one(Model, job.model_id)
    model.description = description.model_dump(mode="json")
    model.revision += 1
    told = {"parameters": description.parameters, "tasks": [t.name for t in description.tasks]}
    ledger.append(session, job.tenant_id, "model.described", model.id, claim.actor, told)
    attempts.close(session, job, "succeeded")
    attempts.finish(session, job, JobState.SUCCEEDED, actor=claim.actor)


def _show_running(session: Session, job: Job, claim: Claim) -> None:
    """A run so short that it ended before its first heartbeat was running all the same."""
    if job.state == JobState.LEASED:
        move_job(session, job, JobState.RUNNING, actor=claim.actor)


def _add_version(
    session: Session, job: Job, claim: Claim, result: JobResult, delta: Delta | None
) -> Version:
    parent = session.get_one(Version, job.parent_version_id)
    newest = session.scalar(
        select(func.max(Version.number)).where(Version.model_id == job.model_id)
    )
    version = Version(
        id=new_id("ver"),
        tenant_id=job.tenant_id,
        model_id=job.model_id,
        number=(newest or 0) + 1,
        parent_id=parent.id,
        root_id=parent.root_id,
        job_id=job.id,
        state=VersionState.STAGED,
        weights_sha256=result.weights_sha256,
        weights_size=result.weights_size,
        base_version_id=parent.id if delta else None,
        delta_sha256=delta.sha256 if delta else None,
        delta_size=delta.size if delta else None,
        training_seconds=parent.training_seconds,
        method=result.method,
        created_at=database_now(session),
    )
    session.add(version)
    session.flush()
    told = {
        "model": version.model_id,
        "number": version.number,
        "parent": parent.id,
        "job": job.id,
        "method": result.method,
        "sha256": version.weights_sha256,
    }
    ledger.append(session, job.tenant_id, "version.staged", version.id, claim.actor, told)
    return version


def _add_audit(session: Session, version: Version, job: Job, result: JobResult) -> None:
    session.add(
        Audit(
            id=new_id("aud"),
            version_id=version.id,
            job_id=job.id,
            verdict=result.audit.verdict,
            report=result.audit.model_dump(mode="json"),
            settings=result.settings,
            created_at=database_now(session),
        )
    )


def _complete(
    session: Session,
    request: DeletionRequest,
    version: Version,
    result: JobResult,
    audited: Sequence[CellAudit],
    promoted: bool,
    claim: Claim,
) -> None:
    exceptions: list[JsonObject] = [
        {"task": cell.task, "verdict": cell.verdict, "reason": cell.reason}
        for cell in audited
        if cell.verdict != "pass"
    ]
    if not promoted and not exceptions:
        verdict = result.audit.verdict
        why = f"the verdict over all requests of the job is {verdict!r}"
        come_back = [found.task for found in result.audit.earlier if found.verdict == "fail"]
        if verdict == "pass":
            why = "the alias was moved while the job ran"
        elif come_back:
            why = f"what earlier requests had forgotten came back for: {', '.join(come_back)}"
        reason = f"its cells passed, but version {version.number} is not in service: {why}"
        exceptions = [
            {"task": task, "verdict": verdict, "reason": reason} for task in request.tasks
        ]
    request.exceptions = exceptions
    request.version_id = version.id
    to, reason_told = RequestState.COMPLETED, None
    if exceptions:
        to = RequestState.COMPLETED_WITH_EXCEPTIONS
        reason_told = "not every cell met its threshold"
    elif request.unknown_instances:
        to = RequestState.COMPLETED_WITH_EXCEPTIONS
        reason_told = "instances that are not in the manifest were skipped"
    move_request(
        session,
        request,
        to,
        actor=claim.actor,
        reason=reason_told,
        payload={"version": version.id, "exceptions": len(exceptions)},
    )
