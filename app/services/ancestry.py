"""Which ancestor of a version never saw what a job is to forget: where `rewind` starts again.

Versions that a job made come from data that their root had seen, so they count as having seen all
of its manifest. An ancestor that has not is an earlier checkpoint: a root of its own, on which a
later version was registered as trained on.
"""

from collections import defaultdict
from collections.abc import Mapping, Set

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services.attempts import IN_WORK, requests_of
from app.services.cells import CHUNK, forgotten_in, instance_ids_of, lineage
from app.states import RequestState, VersionState
from app.tables import Instance, Job, Version


def ancestor_of(session: Session, job: Job, parent: Version) -> Version | None:
    """The youngest ancestor of `parent` that saw no cell of the job's requests, or forgotten since.

    Nor may anything before it have: a manifest tells only of its own training. Instances are the
    same where their ids are. None where there is no such ancestor.
    """
    older = [
        version for version in lineage(session, parent.id) if version.root_id != parent.root_id
    ]
    if not older:
        return None
    cells = _cells(session, job, parent)
    found, clean = None, set[str]()
    for version in older:
        if version.root_id not in clean:
            if _has_seen(session, version.root_id, cells):
                break
            clean.add(version.root_id)
        if version.state != VersionState.PURGED:
            found = version
    return found


def _cells(session: Session, job: Job, parent: Version) -> Mapping[str, Set[str]]:
    """The tasks by instance id that the new version must not know."""
    cells: dict[str, set[str]] = defaultdict(set)
    for request in requests_of(session, job, (RequestState.QUEUED, *IN_WORK)):
        for instance_id in instance_ids_of(session, request.id):
            cells[instance_id].update(request.tasks)
    gone = forgotten_in(session, parent.id).subquery()
    named = select(Instance.instance_id, gone.c.task).join(gone, gone.c.instance_pk == Instance.pk)
    for instance_id, task in session.execute(named):
        cells[instance_id].add(task)
    return cells


def _has_seen(session: Session, root_id: str, cells: Mapping[str, Set[str]]) -> bool:
    """Whether a root's manifest teaches any of the cells."""
    ids = sorted(cells)
    for start in range(0, len(ids), CHUNK):
        some = Instance.instance_id.in_(ids[start : start + CHUNK])
        taught = select(Instance.instance_id, Instance.tasks).where(
            Instance.root_id == root_id, some
        )
        if any(cells[instance_id] & set(tasks) for instance_id, tasks in session.execute(taught)):
            return True
    return False
