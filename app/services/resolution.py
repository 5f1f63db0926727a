"""What a deletion request names, looked up in the manifest of the version in service.

Unknown ids are never guessed. Everything here reads only.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.coverage import UNKNOWN_SUBJECT
from app.prepared import Prepared, adopted, columns
from app.problems import Conflict, FieldError, Invalid, NotFound
from app.schemas.deletion_requests import AskedOf, NewDeletionRequest, Scope
from app.schemas.models import Policy
from app.services.cells import CHUNK, forgotten_in, forgotten_tasks
from app.tables import Alias, ForgottenCell, Instance, Model, Version

MOST_NAMED = 20
"""Unknown ids that a refusal spells out."""


@dataclass(frozen=True)
class Target:
    """What a request is against."""

    model: Model
    version: Version
    """What the promotion alias names."""
    tasks: list[str]
    scope: Scope


@dataclass(frozen=True)
class Found:
    """How much a request names, as the manifest knows it."""

    target: Target
    instances: int
    taught: Mapping[str, int]
    """Of these, by task, those that were to teach it."""
    forgotten: Mapping[str, int]
    """Of those, by task, those that the version has forgotten already."""
    unknown: Sequence[str] = ()
    """What is not in the manifest, or the first of it."""
    keys: Sequence[int] | None = None
    """The instances in manifest order; None where they are on record for the request already."""

    @property
    def cells(self) -> int:
        """(instance, task) pairs that there are to forget, or were."""
        return sum(self.taught.values())

    @property
    def cells_forgotten(self) -> int:
        """How many of them are forgotten already."""
        return sum(self.forgotten.values())

    @property
    def nothing_left(self) -> bool:
        """Whether no run is needed."""
        return self.cells == self.cells_forgotten

    @property
    def fresh(self) -> dict[str, int]:
        """By task, the instances that are now to be forgotten for it."""
        return {task: count - self.forgotten.get(task, 0) for task, count in self.taught.items()}


@dataclass(frozen=True)
class Resolution:
    """A request's instances as the manifest knows them, each by its key."""

    target: Target
    taught: dict[int, set[str]]
    """For each instance those of the tasks that it was to teach."""
    forgotten: dict[int, set[str]]
    """Those of `taught` that the version has forgotten already."""
    unknown: list[str]
    names: dict[int, str]
    """The instances' own ids."""

    @property
    def keys(self) -> list[int]:
        """The instances in manifest order."""
        return sorted(self.taught)

    def found(self) -> Found:
        """The same, counted."""
        return Found(
            target=self.target,
            instances=len(self.taught),
            taught=Counter(task for tasks in self.taught.values() for task in tasks),
            forgotten=Counter(task for tasks in self.forgotten.values() for task in tasks),
            unknown=self.unknown,
            keys=self.keys,
        )


def target_of(session: Session, tenant_id: str, body: AskedOf) -> Target:
    """The version and tasks that are asked of; raises a Problem for what does not exist."""
    by = _BY_ID if body.model.startswith("mod_") else _BY_NAME
    session.flush()
    found = by.rows(session, {"tenant_id": tenant_id, "model": body.model})
    if not found:
        raise NotFound("model", body.model)
    of_model, of_version = found[0][: len(_MODEL)], found[0][len(_MODEL) :]
    model = adopted(session, Model, of_model)
    version = adopted(session, Version, of_version) if of_version[0] is not None else None
    if model.archived_at is not None:
        raise Conflict("model-archived", f"model {model.name!r} is archived")
    if version is None or model.description is None:
        alias = Policy.model_validate(model.policy).promote_alias
        raise Conflict(
            "no-version",
            f"model {model.name!r} has no version under the alias {alias!r}: register one first",
        )
    tasks, scope = _tasks(model, body.tasks)
    return Target(model, version, tasks, scope)


# What every request asks is put together once.
_MODEL, _VERSION = columns(Model), columns(Version)
_IN_SERVICE = (
    select(*_MODEL, *_VERSION)
    .outerjoin(
        Alias,
        and_(
            Alias.model_id == Model.id,
            Alias.name
            == func.coalesce(
                Model.policy["promote_alias"].as_string(),
                Policy.model_fields["promote_alias"].default,
            ),
        ),
    )
    .outerjoin(Version, Version.id == Alias.version_id)
    .where(Model.tenant_id == bindparam("tenant_id"))
)
_BY_ID = Prepared(_IN_SERVICE.where(Model.id == bindparam("model")))
_BY_NAME = Prepared(
    _IN_SERVICE.where(Model.name == bindparam("model"), Model.archived_at.is_(None))
)


def resolve(session: Session, tenant_id: str, body: NewDeletionRequest) -> Resolution:
    """Find everything that the request names; raises a Problem for what does not exist."""
    target = target_of(session, tenant_id, body)
    root = target.version.root_id
    names: dict[int, str] = {}
    found, missing = _look_up(session, root, Instance.instance_id, body.instances, names)
    theirs, missing_subjects = _look_up(session, root, Instance.subject, body.subjects, names)
    if (missing or missing_subjects) and body.on_unknown == "refuse":
        raise _unknown(body, missing, missing_subjects)
    wanted = set(target.tasks)
    taught = {pk: wanted.intersection(taught) for pk, taught in (found | theirs).items()}
    gone = forgotten_tasks(session, target.version.id, list(taught))
    return Resolution(
        target=target,
        taught=taught,
        forgotten={pk: taught[pk] & some for pk, some in gone.items()},
        unknown=[*missing, *(f"{UNKNOWN_SUBJECT}{subject}" for subject in missing_subjects)],
        names=names,
    )


@dataclass(frozen=True)
class ManifestSize:
    """How much a root's manifest holds."""

    instances: int
    taught: dict[str, int]
    """Instances by the task that they teach."""


def manifest_size(session: Session, root_id: str) -> ManifestSize:
    """Counted once a process and root: a manifest never changes."""
    known = _sizes.get(root_id)
    if known is None:
        rows = session.execute(
            select(Instance.tasks, func.count())
            .where(Instance.root_id == root_id)
            .group_by(Instance.tasks)
        )
        taught: Counter[str] = Counter()
        instances = 0
        for tasks, count in rows:
            instances += count
            taught.update(dict.fromkeys(tasks, count))
        known = _sizes[root_id] = ManifestSize(instances, dict(taught))
    return known


_sizes: dict[str, ManifestSize] = {}


def emptied_tasks(
    session: Session, version: Version, tasks: Sequence[str], fresh: Mapping[str, int]
) -> list[str]:
    """Those of `tasks` that nothing would teach any more.

    `fresh` counts, by task, the instances that are now to be forgotten for it.
    """
    gone: dict[str, int] = {}
    if version.parent_id is not None:  # a root has forgotten nothing
        cells = forgotten_in(session, version.id).where(ForgottenCell.task.in_(tasks)).subquery()
        counts = select(cells.c.task, func.count()).group_by(cells.c.task)
        gone = dict(session.execute(counts).all())
    size = manifest_size(session, version.root_id)
    return [
        task
        for task in tasks
        if 0 < size.taught.get(task, 0) - gone.get(task, 0) <= fresh.get(task, 0)
    ]


def _tasks(model: Model, asked: list[str] | None) -> tuple[list[str], Scope]:
    """The tasks in the model's order, and whether that is all of them."""
    assert model.description is not None
    existing = [task["name"] for task in model.description["tasks"]]
    if asked is None:
        return existing, "full"
    unknown = [(i, task) for i, task in enumerate(asked) if task not in existing]
    if unknown:
        names = ", ".join(repr(task) for _, task in unknown[:MOST_NAMED])
        raise Invalid(
            f"#/tasks/{unknown[0][0]}",
            f"model {model.name!r} has no task {names}; its tasks are {', '.join(existing)}",
            slug="unknown-tasks",
            tasks=existing,
        )
    tasks = [task for task in existing if task in asked]
    return tasks, "full" if len(tasks) == len(existing) else "partial"


_OF_ROOT = select(Instance.pk, Instance.instance_id, Instance.subject, Instance.tasks).where(
    Instance.root_id == bindparam("root_id")
)
_BY_ONE = {
    column: Prepared(_OF_ROOT.where(column == bindparam("one")))
    for column in (Instance.instance_id, Instance.subject)
}


def _look_up(
    session: Session,
    root_id: str,
    column: InstrumentedAttribute[Any],
    asked: Sequence[str],
    names: dict[int, str],
) -> tuple[dict[int, list[str]], list[str]]:
    """The tasks of each instance whose `column` holds one of `asked`, and what none holds.

    Adds the instances' ids to `names`.
    """
    values = list(dict.fromkeys(asked))
    found: dict[int, list[str]] = {}
    known: set[str] = set()
    for start in range(0, len(values), CHUNK):
        some = values[start : start + CHUNK]
        rows: Iterable[Sequence[Any]]
        if len(some) == 1:
            rows = _BY_ONE[column].rows(session, {"root_id": root_id, "one": some[0]})
        else:
            rows = session.execute(_OF_ROOT.where(column.in_(some)), {"root_id": root_id})
        for pk, name, subject, tasks in rows:
            found[pk] = tasks
            names[pk] = name
            known.add(name if column is Instance.instance_id else str(subject))
    return found, [value for value in values if value not in known]


def _unknown(body: NewDeletionRequest, instances: list[str], subjects: list[str]) -> Invalid:
    errors: list[FieldError] = []
    for name, asked, missing in (
        ("instances", body.instances, instances),
        ("subjects", body.subjects, subjects),
    ):
        absent = set(missing)
        errors.extend(
            FieldError(pointer=f"#/{name}/{i}", detail=f"{one!r} is not in the manifest")
            for i, one in enumerate(asked)
            if one in absent
        )
    errors = errors[:MOST_NAMED]
    named = ", ".join(repr(one) for one in [*instances, *subjects][:MOST_NAMED])
    count = len(instances) + len(subjects)
    what = "id is" if count == 1 else "ids are"
    return Invalid(
        errors[0]["pointer"],
        f"{count} {what} not in the manifest of the version in service: {named}"
        + ("" if count <= MOST_NAMED else ", ..."),
        slug="unknown-instances",
        more=errors[1:],
        unknown=[*instances, *subjects][:MOST_NAMED],
        unknown_count=count,
    )
