"""Which (instance, task) cells a version has forgotten, and what it still learns from.

Only the version that carried a request out holds its cells; every descendant inherits them. So a
rollback to an ancestor, or a rejected version, changes no row.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import Select, bindparam, func, insert, select
from sqlalchemy.orm import Session, aliased

from app.schemas.models import Policy
from app.tables import (
    Alias,
    DeletionRequest,
    ForgottenCell,
    Instance,
    Model,
    RequestInstance,
    Version,
)
from engine.spec import ManifestEntry

CHUNK = 2000
"""Rows held in memory, and values in one IN list, at a time."""
_TOGETHER = 500
"""Requests whose cells one query looks up."""


def promoted_version(session: Session, model: Model) -> Version | None:
    """The version that the model's promotion alias names: what new requests are to change."""
    return session.scalar(
        select(Version)
        .join(Alias, Alias.version_id == Version.id)
        .where(
            Alias.model_id == model.id,
            Alias.name == Policy.model_validate(model.policy).promote_alias,
        )
    )


def lineage(session: Session, version_id: str) -> list[Version]:
    """The version and its ancestors, root first."""
    return list(session.scalars(_LINEAGE, {"version_id": version_id}))


def _lineage() -> Select[Version]:
    line = (
        select(Version.id, Version.parent_id)
        .where(Version.id == bindparam("version_id"))
        .cte("line", recursive=True)
    )
    parent = aliased(Version)
    line = line.union(select(parent.id, parent.parent_id).join(line, parent.id == line.c.parent_id))
    return select(Version).join(line, Version.id == line.c.id).order_by(Version.number)


_LINEAGE = _lineage()


def line_of(session: Session, version_id: str) -> list[str]:
    """The ids of the version and its ancestors, root first; read once, as they never change."""
    known = _lines.get(version_id)
    if known is None:
        known = [version.id for version in lineage(session, version_id)]
        if len(_lines) >= _MOST_LINES:
            _lines.clear()
        _lines[version_id] = known
    return known


_lines: dict[str, list[str]] = {}
_MOST_LINES = 10_000


def forgotten_in(session: Session, version_id: str) -> Select[int, str]:
    """Distinct (instance_pk, task) that the version or one of its ancestors forgot."""
    ids = line_of(session, version_id)
    return (
        select(ForgottenCell.instance_pk, ForgottenCell.task)
        .where(ForgottenCell.version_id.in_(ids))
        .distinct()
    )


def forgotten_tasks(
    session: Session, version_id: str, instance_pks: Sequence[int]
) -> dict[int, set[str]]:
    """For each of these instances, the tasks for which the version has forgotten it."""
    found: dict[int, set[str]] = defaultdict(set)
    if len(line_of(session, version_id)) == 1:
        return found  # a root was registered, not made: it has forgotten nothing
    cells = forgotten_in(session, version_id)
    for start in range(0, len(instance_pks), CHUNK):
        some = instance_pks[start : start + CHUNK]
        for pk, task in session.execute(cells.where(ForgottenCell.instance_pk.in_(some))):
            found[pk].add(task)
    return found


def manifest_page(
    session: Session, version: Version, after_pk: int, limit: int
) -> list[tuple[Instance, list[str]]]:
    """Up to `limit` instances behind `after_pk` in manifest order, each with its forgotten tasks.

    The tasks are in the order of the instance's own list.
    """
    instances = session.scalars(
        select(Instance)
        .where(Instance.root_id == version.root_id, Instance.pk > after_pk)
        .order_by(Instance.pk)
        .limit(limit)
    ).all()
    gone = forgotten_tasks(session, version.id, [instance.pk for instance in instances])
    return [
        (instance, [task for task in instance.tasks if task in gone.get(instance.pk, ())])
        for instance in instances
    ]


def manifest_lines(session: Session, version_id: str) -> Iterator[ManifestEntry]:
    """What a version was trained on and has forgotten since, in manifest order, streamed."""
    version = session.get_one(Version, version_id)
    after = 0
    while page := manifest_page(session, version, after, CHUNK):
        for instance, gone in page:
            yield ManifestEntry(
                id=instance.instance_id,
                subject=instance.subject,
                digest=instance.digest,
                tasks=tuple(task for task in instance.tasks if task not in gone),
                forgotten=tuple(gone),
            )
        after = page[-1][0].pk
        for instance, _ in page:
            session.expunge(instance)


class Named(NamedTuple):
    """An instance that a request names."""

    pk: int
    instance_id: str
    tasks: list[str]
    """Those that it was to teach."""


def instances_of_each(
    session: Session, request_ids: Sequence[str]
) -> Iterator[tuple[str, Iterator[Named]]]:
    """What each of many requests names, in manifest order: the next one's once this one's is read.

    Streamed, some hundred requests a query.
    """
    for start in range(0, len(request_ids), _TOGETHER):
        some = request_ids[start : start + _TOGETHER]
        rows = session.execute(
            select(RequestInstance.request_id, Instance.pk, Instance.instance_id, Instance.tasks)
            .join(Instance, Instance.pk == RequestInstance.instance_pk)
            .where(RequestInstance.request_id.in_(some))
            .order_by(RequestInstance.request_id, Instance.pk)
            .execution_options(yield_per=CHUNK)
        )
        empty = set(some)
        for request_id, theirs in groupby(rows, itemgetter(0)):
            empty.discard(request_id)
            yield request_id, (Named(*row[1:]) for row in theirs)
        yield from ((request_id, iter(())) for request_id in sorted(empty))


def cells_of_each(
    session: Session, requests: Sequence[DeletionRequest]
) -> Iterator[tuple[DeletionRequest, Iterator[tuple[Named, str]]]]:
    """The same as every (instance, task) that was taught and is asked for."""
    by_id = {request.id: request for request in requests}
    for request_id, named in instances_of_each(session, list(by_id)):
        request = by_id[request_id]
        wanted = set(request.tasks)
        yield (
            request,
            ((one, task) for one in named for task in one.tasks if task in wanted),
        )


def cells_of(session: Session, request: DeletionRequest) -> Iterator[tuple[Named, str]]:
    """Those of one request, in manifest order.

    Streamed: a request may name a million instances.
    """
    for _, cells in cells_of_each(session, [request]):
        yield from cells


class CellCounts(NamedTuple):
    """How much a request names."""

    instances: int
    taught: Counter[str]
    """Of these, by task of the request, those that were to teach it."""
    forgotten: Counter[str]
    """Of those, by task, those that a version has forgotten."""


def cell_counts(
    session: Session, tasks_of: Mapping[str, set[str]], version: Version
) -> dict[str, CellCounts]:
    """By request: of the instances on record for it, and its tasks, counted in the database."""
    named = RequestInstance.request_id.in_(tasks_of)
    found = {request_id: CellCounts(0, Counter(), Counter()) for request_id in tasks_of}
    groups = session.execute(
        select(RequestInstance.request_id, Instance.tasks, func.count())
        .join(Instance, Instance.pk == RequestInstance.instance_pk)
        .where(named)
        .group_by(RequestInstance.request_id, Instance.tasks)
    )
    for request_id, teaches, count in groups:
        so_far = found[request_id]
        so_far.taught.update(dict.fromkeys(tasks_of[request_id].intersection(teaches), count))
        found[request_id] = so_far._replace(instances=so_far.instances + count)
    if version.parent_id is None:  # a root has forgotten nothing
        return found
    gone = forgotten_in(session, version.id).subquery()
    forgotten = session.execute(
        select(RequestInstance.request_id, gone.c.task, func.count())
        .join(RequestInstance, RequestInstance.instance_pk == gone.c.instance_pk)
        .where(named)
        .group_by(RequestInstance.request_id, gone.c.task)
    )
    for request_id, task, count in forgotten:
        if task in tasks_of[request_id]:
            found[request_id].forgotten[task] = count
    return found


def with_cells_left(
    session: Session, requests: Sequence[DeletionRequest], version: Version
) -> set[str]:
    """The ids of those requests that name a cell which the version still holds."""
    left: set[str] = set()
    for start in range(0, len(requests), _TOGETHER):
        some = {request.id: set(request.tasks) for request in requests[start : start + _TOGETHER]}
        counts = cell_counts(session, some, version)
        left.update(
            request_id
            for request_id, cells in counts.items()
            if cells.taught.total() > cells.forgotten.total()
        )
    return left


def record_forgotten(
    session: Session, version: Version, requests: Sequence[DeletionRequest]
) -> None:
    """Write that `version` forgot the requests' cells."""
    rows = (
        {
            "version_id": version.id,
            "instance_pk": instance.pk,
            "task": task,
            "request_id": request.id,
        }
        for request, cells in cells_of_each(session, requests)
        for instance, task in cells
    )
    while chunk := list(islice(rows, CHUNK)):
        session.execute(insert(ForgottenCell), chunk)
