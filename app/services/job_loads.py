"""How much a job would have to do, counted in the database: what its cost is estimated from.

Counts are of instances. An instance is taken to teach nothing more once a request of all tasks has
named it, and to go on teaching after one of some tasks.
"""

from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, case, func, or_, select
from sqlalchemy.orm import Session

from app.services.cells import CHUNK, line_of
from app.services.resolution import Resolution, manifest_size
from app.states import RequestState
from app.tables import DeletionRequest, ForgottenCell, Job, JobRequest, RequestInstance, Version
from engine.spec import JobLoad


def load_of_request(session: Session, version: Version, request: DeletionRequest) -> JobLoad:
    """Of a request by itself."""
    gone = _Gone(session, version)
    return gone.load(gone.named(RequestInstance.request_id == request.id))


def load_of_job(session: Session, version: Version, job: Job, joining: DeletionRequest) -> JobLoad:
    """Of a queued job and the request that joins it: all instances that their requests name."""
    gone = _Gone(session, version)
    return gone.load(gone.named(or_(RequestInstance.request_id == joining.id, _waits_in(job))))


def load_of_preview(session: Session, found: Resolution, job: Job | None) -> JobLoad:
    """Of a request that is not on record, alone or together with the queued job's requests."""
    gone = _Gone(session, found.target.version)
    fresh = [pk for pk, tasks in found.taught.items() if tasks - found.forgotten.get(pk, set())]
    full = found.target.scope == "full"
    if job is None:
        return gone.load(_Named(len(fresh), len(fresh) if full else 0))
    waiting = gone.named(_waits_in(job))
    parts = [
        gone.named(_waits_in(job), RequestInstance.instance_pk.in_(fresh[start : start + CHUNK]))
        for start in range(0, len(fresh), CHUNK)
    ]
    twice = _Named(sum(part.instances for part in parts), sum(part.emptied for part in parts))
    return gone.load(
        _Named(
            instances=len(fresh) + waiting.instances - twice.instances,
            emptied=(len(fresh) if full else twice.emptied) + waiting.emptied - twice.emptied,
        )
    )


class _Named(NamedTuple):
    """Instances that are to be forgotten for some task, and those of them for all."""

    instances: int
    emptied: int


def _waits_in(job: Job) -> ColumnElement[bool]:
    requests = (
        select(JobRequest.request_id)
        .join(DeletionRequest, DeletionRequest.id == JobRequest.request_id)
        .where(JobRequest.job_id == job.id, DeletionRequest.state == RequestState.QUEUED)
    )
    return RequestInstance.request_id.in_(requests)


class _Gone:
    """What a version has forgotten, as rows of (instance_pk, scope of the request)."""

    def __init__(self, session: Session, version: Version) -> None:
        self._session = session
        self._instances = max(1, manifest_size(session, version.root_id).instances)
        # A version without a parent has forgotten nothing.
        self._line = line_of(session, version.id) if version.parent_id else []
        self._rows = (
            select(ForgottenCell.instance_pk, DeletionRequest.scope)
            .join(DeletionRequest, DeletionRequest.id == ForgottenCell.request_id)
            .where(ForgottenCell.version_id.in_(self._line))
        )

    def named(self, *which: ColumnElement[bool]) -> _Named:
        """Of the instances that these requests name, those that the version still learns from."""
        pk = RequestInstance.instance_pk
        counts = _counts(pk, DeletionRequest.scope).join(
            DeletionRequest, DeletionRequest.id == RequestInstance.request_id
        )
        emptied = self._rows.where(DeletionRequest.scope == "full").subquery()
        still = pk.not_in(select(emptied.c.instance_pk))
        return _Named(*self._session.execute(counts.where(*which, still)).one())

    def load(self, named: _Named) -> JobLoad:
        """The size of the job that forgets these now."""
        earlier = _Named(0, 0)
        if self._line:
            rows = self._rows.subquery()
            counts = _counts(rows.c.instance_pk, rows.c.scope)
            earlier = _Named(*self._session.execute(counts).one())
        return JobLoad(
            instances=self._instances,
            forget=named.instances,
            earlier=earlier.instances,
            retained=max(0, self._instances - earlier.emptied - named.emptied),
        )


def _counts(pk: SQLColumnExpression[int], scope: SQLColumnExpression[str]) -> Select[int, int]:
    """How many instances there are, and how many of them a request of all tasks names."""
    return select(func.count(pk.distinct()), func.count(case((scope == "full", pk)).distinct()))
