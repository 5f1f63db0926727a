"""Which ancestor of a version never saw what a job is to forget: where `rewind` starts again.

Versions that a job made come from data that their root had seen, so they count as having seen all
of its manifest. An ancestor that has not is an earlier checkpoint: a root of its own, on which a
later version was registered as trained on.
"""

from collections import defaultdict
from collections.abc import Set

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.attempts import IN_WORK, requests_of
from app.services.cells import CHUNK, forgotten_in, instances_of_each, lineage
from app.states import RequestState, VersionState
from app.tables import Instance, Job, Version

Cell = tuple[str, str]
"""An instance's id and a task; instances of several manifests are the same where their ids are."""


def ancestor_of(session: Session, job: Job, parent: Version) -> Version | None:
    """The youngest ancestor of `parent` from before any cell of the job's requests came in.

    What `parent` has forgotten since must not come back with it either. A version has seen what its
    ancestors saw, whatever its own manifest says. None where there is no such ancestor.
    """
    older = [
        version for version in lineage(session, parent.id) if version.root_id != parent.root_id
    ]
    if not older:
        return None
    asked, gone = _asked(session, job), _gone(session, parent)
    found, roots = None, list[str]()
    for version in older:
        if version.root_id not in roots:
            if _teaches(session, version.root_id, asked):
                break
            roots.append(version.root_id)
        since = gone - _gone(session, version)
        if version.state != VersionState.PURGED and not any(
            _teaches(session, root, since) for root in roots
        ):
            found = version
    return found


def _asked(session: Session, job: Job) -> Set[Cell]:
    """What the job's requests name."""
    requests = requests_of(session, job, (RequestState.QUEUED, *IN_WORK))
    tasks = {request.id: request.tasks for request in requests}
    return {
        (one.instance_id, task)
        for request_id, named in instances_of_each(session, list(tasks))
        for one in named
        for task in tasks[request_id]
    }


def _gone(session: Session, version: Version) -> Set[Cell]:
    """What the version has forgotten."""
    cells = forgotten_in(session, version.id).subquery()
    named = select(Instance.instance_id, cells.c.task).join(
        cells, cells.c.instance_pk == Instance.pk
    )
    return {(instance_id, task) for instance_id, task in session.execute(named)}


def _teaches(session: Session, root_id: str, cells: Set[Cell]) -> bool:
    """Whether a root's manifest names any of the cells."""
    tasks_by_id: dict[str, set[str]] = defaultdict(set)
    for instance_id, task in cells:
        tasks_by_id[instance_id].add(task)
    ids = sorted(tasks_by_id)
    for start in range(0, len(ids), CHUNK):
        taught = select(Instance.instance_id, Instance.tasks).where(
            Instance.root_id == root_id, Instance.instance_id.in_(ids[start : start + CHUNK])
        )
        for instance_id, tasks in session.execute(taught):
            if not tasks_by_id[instance_id].isdisjoint(tasks):
                return True
    return False
