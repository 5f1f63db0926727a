"""Jobs carried out without an engine: the worker's own transactions, with a result made here."""

import io
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from app.db import Database
from app.http import Parts
from app.services.attempts import Claim
from app.services.claiming import claim
from app.services.completion import succeed
from app.storage import Storage
from app.tables import DeletionRequest, JobRequest
from engine.spec import (
    AucChange,
    AuditReport,
    CellAudit,
    Change,
    Interval,
    JobLoad,
    JobResult,
    Verdict,
)

WORKER = "worker-1"


def claim_next(database: Database) -> Claim:
    """The next job, claimed."""
    with database.write() as session, session.begin():
        taken = claim(session, WORKER, 60)
    assert taken is not None, "no job waits"
    return taken


def result_for(
    storage: Storage, job_id: str, requests: Iterable[DeletionRequest], verdict: Verdict
) -> JobResult:
    """What an engine might have left, with every cell of the same verdict."""
    sha256, size = storage.put(io.BytesIO(f"weights of {job_id}".encode()))
    cells = tuple(
        CellAudit(
            request_id=request.id,
            task=task,
            target=True,
            metric="accuracy",
            higher_is_better=True,
            forget=Change(before=1.0, after=0.75),
            retain=Change(before=1.0, after=0.98),
            validation=Change(before=0.8, after=0.79),
            auc=AucChange(
                before=Interval(low=0.8, value=0.9, high=1.0),
                after=Interval(low=0.45, value=0.52, high=0.59),
            ),
            verdict=verdict,
            reason="as the test says",
        )
        for request in requests
        for task in request.tasks
    )
    return JobResult(
        job_id=job_id,
        weights_sha256=sha256,
        weights_size=size,
        method="interference_aware",
        settings={"learning_rate": 7e-4},
        seed=7,
        audit=AuditReport(
            cells=cells,
            verdict=verdict,
            uis_before=30.0,
            uis_after=4.0,
            reference="held-out half, 40 instances",
        ),
        seconds=2.5,
        gradient_evaluations=100,
        training_seconds=10.0,
        share_of_retraining=0.25,
        load=JobLoad(instances=10, forget=1, earlier=0, retained=9),
        versions={"expunge": "0.1.0"},
    )


def finish(parts: Parts, taken: Claim, verdict: Verdict = "pass", **took: Any) -> None:
    """Bring a claimed job to its end; `took` are members of the engine's result."""
    with parts.database.write() as session, session.begin():
        requests = session.scalars(
            select(DeletionRequest)
            .join(JobRequest, JobRequest.request_id == DeletionRequest.id)
            .where(JobRequest.job_id == taken.job_id)
        ).all()
        result = result_for(parts.storage, taken.job_id, requests, verdict).model_copy(update=took)
        succeed(session, taken, result, parts.storage, parts.signer)


def carry_out(parts: Parts, verdict: Verdict = "pass", **took: Any) -> str:
    """Claim and finish the next job; its id. `took` are members of the engine's result."""
    taken = claim_next(parts.database)
    finish(parts, taken, verdict, **took)
    return taken.job_id
