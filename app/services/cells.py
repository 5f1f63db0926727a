"""Which (instance, task) cells a version has forgotten, and what it still learns from.

Only the version that carried a request out holds its cells; every descendant inherits them. So a
rollback to an ancestor, or a rejected version, changes no row.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
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


def cells_of(session: Session, request: DeletionRequest) -> Iterator[tuple[Instance, str]]:
    """Every (instance, task) that a request names and that was taught, in manifest order.

    Streamed: a request may name a million instances.
    """
    wanted = set(request.tasks)
    rows = (
        select(Instance)
        .join(RequestInstance, RequestInstance.instance_pk == Instance.pk)
        .where(RequestInstance.request_id == request.id)
        .order_by(Instance.pk)
    )
    for instance in session.scalars(rows.execution_options(yield_per=CHUNK)):
        for task in instance.tasks:
            if task in wanted:
                yield instance, task


class CellCounts(NamedTuple):
    """How much a request names."""

    instances: int
    taught: Mapping[str, int]
    """Of these, by task of the request, those that were to teach it."""
    forgotten: Mapping[str, int]
    """Of those, by task, those that a version has forgotten."""


def cell_counts(
    session: Session, request_id: str, tasks: Sequence[str], version_id: str
) -> CellCounts:
    """Of the instances that are on record for a request, counted in the database."""
    named = RequestInstance.request_id == request_id
    groups = session.execute(
        select(Instance.tasks, func.count())
        .join(RequestInstance, RequestInstance.instance_pk == Instance.pk)
        .where(named)
        .group_by(Instance.tasks)
    )
    instances, taught = 0, Counter[str]()
    for teaches, count in groups:
        instances += count
        taught.update(dict.fromkeys(set(tasks).intersection(teaches), count))
    gone = forgotten_in(session, version_id).where(ForgottenCell.task.in_(tasks)).subquery()
    forgotten = session.execute(
        select(gone.c.task, func.count())
        .join(RequestInstance, RequestInstance.instance_pk == gone.c.instance_pk)
        .where(named)
        .group_by(gone.c.task)
    )
    return CellCounts(instances, taught, dict(forgotten.all()))


def instance_ids_of(session: Session, request_id: str) -> list[str]:
    """The ids of a request's instances, in manifest order."""
    return list(
        session.scalars(
            select(Instance.instance_id)
            .join(RequestInstance, RequestInstance.instance_pk == Instance.pk)
            .where(RequestInstance.request_id == request_id)
            .order_by(Instance.pk)
        )
    )


def record_forgotten(session: Session, version: Version, request: DeletionRequest) -> int:
    """Write that `version` forgot the request's cells; returns how many."""
    count = 0
    cells = cells_of(session, request)
    while chunk := list(islice(cells, CHUNK)):
        rows = [
            {
                "version_id": version.id,
                "instance_pk": instance.pk,
                "task": task,
                "request_id": request.id,
            }
            for instance, task in chunk
        ]
        session.execute(insert(ForgottenCell), rows)
        count += len(rows)
    return count
