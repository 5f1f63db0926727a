"""The only way a state changes: checked against the tables of `app.states`, told to the ledger."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from app import ledger
from app.db import database_now
from app.states import (
    JOB,
    REQUEST,
    RETIRED_VERSION,
    VERSION,
    IllegalTransition,
    JobState,
    RequestState,
    VersionState,
)
from app.tables import DeletionRequest, Job, JobRequest, Version

S = TypeVar("S", bound=StrEnum)

_LEAVES = (
    update(Job)
    .where(
        Job.id.in_(
            select(JobRequest.job_id).where(JobRequest.request_id == bindparam("request_id"))
        )
    )
    .values(waiting=None)
)
"""A queued job that one of its requests has left is to count the others."""


def move_request(
    session: Session,
    request: DeletionRequest,
    to: RequestState,
    *,
    actor: str,
    reason: str | None = None,
    payload: Mapping[str, Any] | None = None,
) -> None:
    """Change a request's state; people read `reason` beside it. Raises IllegalTransition."""
    was = RequestState(request.state)
    told = _move(session, request, REQUEST, was, to, payload, reason)
    if was == RequestState.QUEUED and to != RequestState.IN_PROGRESS:
        session.connection().execute(_LEAVES, {"request_id": request.id})
    request.state_reason = reason
    request.revision += 1
    request.updated_at = database_now(session)
    ledger.append(session, request.tenant_id, f"request.{to}", request.id, actor, told)


def move_job(
    session: Session,
    job: Job,
    to: JobState,
    *,
    actor: str,
    reason: str | None = None,
    payload: Mapping[str, Any] | None = None,
) -> None:
    """Change a job's state. Raises IllegalTransition."""
    job.waiting = None  # whatever it is queued with the next time
    told = _move(session, job, JOB, JobState(job.state), to, payload, reason)
    ledger.append(session, job.tenant_id, f"job.{to}", job.id, actor, told)


def move_version(
    session: Session,
    version: Version,
    to: VersionState,
    *,
    actor: str,
    reason: str | None = None,
    payload: Mapping[str, Any] | None = None,
) -> None:
    """Change a version's state, and note when it was retired. Raises IllegalTransition."""
    told = _move(session, version, VERSION, VersionState(version.state), to, payload, reason)
    if to in RETIRED_VERSION:
        version.retired_at = database_now(session)
    elif to == VersionState.VERIFIED:
        version.retired_at = None
    ledger.append(session, version.tenant_id, f"version.{to}", version.id, actor, told)


def _move(
    session: Session,
    row: DeletionRequest | Job | Version,
    machine: Mapping[S, frozenset[S]],
    now: S,
    to: S,
    payload: Mapping[str, Any] | None,
    reason: str | None,
) -> dict[str, Any]:
    if to not in machine[now]:
        raise IllegalTransition(f"{row.__tablename__.rstrip('s')} {row.id}", now, to)
    row.state = to
    if isinstance(row, Job):
        session.flush()  # the index that lets a model have one active job speaks here
    return {"from": now, **({"reason": reason} if reason else {}), **(payload or {})}
