"""How much a job would have to do, counted in the database: what its cost is estimated from.

Counts are of instances. An instance is taken to teach nothing more once a request of all tasks has
named it, and to go on teaching after one of some tasks.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    SQLColumnExpression,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from app.prepared import Prepared
from app.services.cells import CHUNK, line_of
from app.services.resolution import Resolution, manifest_size
from app.states import RequestState
from app.tables import DeletionRequest, ForgottenCell, Job, JobRequest, RequestInstance, Version
from engine.spec import JobLoad


def load_of_request(session: Session, version: Version, request: DeletionRequest) -> JobLoad:
    """Of a request by itself."""
    gone = _Gone(session, version)
    return gone.load(gone.named(RequestInstance.request_id == request.id))


def load_of_job(
    session: Session,
    version: Version,
    job: Job,
    joining: DeletionRequest,
    keys: Sequence[int] | None,
) -> JobLoad:
    """Of a queued job and the request that joins it: all instances that their requests name.

    `keys` are the request's, where they are not on record for it yet. What is found is kept beside
    the job, so that who joins it next adds to that and need not count all of it again.
    """
    gone = _Gone(session, version)
    if keys is None:
        named = gone.named(or_(RequestInstance.request_id == joining.id, _waits_in(job)))
    else:
        kept = job.waiting
        waiting = (
            _Named(kept["instances"], kept["emptied"])
            if kept is not None and kept["version"] == version.id
            else gone.named(_waits_in(job))
        )
        named = gone.with_these(waiting, job, gone.still(keys), full=joining.scope == "full")
    told = {"version": version.id, **named._asdict()}
    _KEEP.run(session, {"of": job.id, "told": told})
    return gone.load(named)


def load_of_preview(session: Session, found: Resolution, job: Job | None) -> JobLoad:
    """Of a request that is not on record, alone or together with the queued job's requests."""
    gone = _Gone(session, found.target.version)
    fresh = [pk for pk, tasks in found.taught.items() if tasks - found.forgotten.get(pk, set())]
    full = found.target.scope == "full"
    if job is None:
        return gone.load(_Named(len(fresh), len(fresh) if full else 0))
    return gone.load(gone.with_these(gone.named(_waits_in(job)), job, fresh, full=full))


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


_TWICE = (
    select(
        func.count(RequestInstance.instance_pk.distinct()),
        func.count(case((DeletionRequest.scope == "full", RequestInstance.instance_pk)).distinct()),
    )
    .join(DeletionRequest, DeletionRequest.id == RequestInstance.request_id)
    .join(JobRequest, JobRequest.request_id == RequestInstance.request_id)
    .where(
        JobRequest.job_id == bindparam("job_id"),
        DeletionRequest.state == RequestState.QUEUED,
    )
)
_TWICE_ONE = Prepared(_TWICE.where(RequestInstance.instance_pk == bindparam("one")))
_TWICE_SOME = _TWICE.where(RequestInstance.instance_pk.in_(bindparam("some", expanding=True)))
"""From the instances to the requests that name them, not from the job to all that it serves."""
_KEEP = Prepared(update(Job).where(Job.id == bindparam("of")).values(waiting=bindparam("told")))


class _Gone:
    """What a version has forgotten, as rows of (instance_pk, scope of the request)."""

    def __init__(self, session: Session, version: Version) -> None:
        self._session = session
        self._instances = max(1, manifest_size(session, version.root_id).instances)
        # A version without a parent has forgotten nothing.
        self._line = line_of(session, version.id) if version.parent_id else []

    @cached_property
    def _rows(self) -> Select[int, str]:
        return (
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

    def still(self, keys: Sequence[int]) -> Sequence[int]:
        """Those of the instances with these keys that the version still learns from."""
        if not self._line:
            return keys
        rows = self._rows.where(DeletionRequest.scope == "full").subquery()
        emptied: set[int] = set()
        for start in range(0, len(keys), CHUNK):
            some = rows.c.instance_pk.in_(keys[start : start + CHUNK])
            emptied.update(self._session.scalars(select(rows.c.instance_pk).where(some)))
        return [key for key in keys if key not in emptied]

    def with_these(self, waiting: _Named, job: Job, keys: Sequence[int], *, full: bool) -> _Named:
        """What waits in the job together with instances that one more request names."""
        twice = _Named(0, 0)
        if waiting.instances:
            for start in range(0, len(keys), CHUNK):
                part = self._twice(job, keys[start : start + CHUNK])
                twice = _Named(twice.instances + part.instances, twice.emptied + part.emptied)
        return _Named(
            instances=len(keys) + waiting.instances - twice.instances,
            emptied=waiting.emptied + (len(keys) - twice.emptied if full else 0),
        )

    def _twice(self, job: Job, keys: Sequence[int]) -> _Named:
        if len(keys) == 1:
            return _Named(*_TWICE_ONE.rows(self._session, {"job_id": job.id, "one": keys[0]})[0])
        some = {"job_id": job.id, "some": keys}
        return _Named(*self._session.connection().execute(_TWICE_SOME, some).one())

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
