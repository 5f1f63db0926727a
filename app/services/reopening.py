"""What a version that is put into service has not forgotten, though the one before it had.

That happens when an alias is pointed back at an older version, or at an upload whose manifest still
names what was forgotten meanwhile. The requests are carried out again: against the same manifest
the request itself is queued anew, against another one a new request takes its place.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.orm import Session, aliased

from app import ledger
from app.db import database_now
from app.ids import new_id
from app.services.cells import CHUNK, cells_of, forgotten_tasks, lineage
from app.services.parking import queue_or_park
from app.states import RequestState, VersionState
from app.tables import DeletionRequest, ForgottenCell, Instance, RequestInstance, Version

_DONE = (RequestState.COMPLETED, RequestState.COMPLETED_WITH_EXCEPTIONS)
_FORGETS = (VersionState.VERIFIED, VersionState.SUPERSEDED, VersionState.PURGED)


@dataclass(frozen=True)
class Lost:
    """A request that was carried out, and the instances that a version still learns from."""

    request: DeletionRequest
    instances: Sequence[int]
    """Their keys in the version's manifest."""


def lost_by(session: Session, former: Version, version: Version) -> list[Lost]:
    """What would be undone if `version` took the place of `former`, in the order it was asked."""
    dropped = {one.id for one in lineage(session, former.id)}
    dropped -= {one.id for one in lineage(session, version.id)}
    done = session.scalars(
        select(DeletionRequest)
        .where(DeletionRequest.version_id.in_(dropped), DeletionRequest.state.in_(_DONE))
        .order_by(DeletionRequest.id)
    )
    found = [Lost(one, _left(session, one, version)) for one in done.all()]
    return [one for one in found if one.instances]


def reopen(
    session: Session, lost: Sequence[Lost], version: Version, actor: str
) -> list[DeletionRequest]:
    """The requests that have it forgotten again, queued; `version` is in service by now."""
    reopened = []
    for one in lost:
        request = one.request
        if request.root_id == version.root_id:
            request.exceptions, request.version_id = [], None
            told = {"version": version.id}
            ledger.append(session, request.tenant_id, "request.reopened", request.id, actor, told)
        else:
            request = _again(session, one, version, actor)
        queue_or_park(session, request, actor)
        reopened.append(request)
    return reopened


def tombstones(session: Session, version: Version) -> list[tuple[str, str]]:
    """Cells (instance id, task) of a new manifest that other versions of the model forgot."""
    old, new = aliased(Instance), aliased(Instance)
    rows = session.execute(
        select(new.instance_id, new.tasks, ForgottenCell.task)
        .join(old, old.pk == ForgottenCell.instance_pk)
        .join(Version, Version.id == ForgottenCell.version_id)
        .join(new, (new.root_id == version.id) & (new.instance_id == old.instance_id))
        .where(Version.model_id == version.model_id, Version.state.in_(_FORGETS))
        .order_by(new.pk, ForgottenCell.task)
    )
    found = [(instance_id, task) for instance_id, taught, task in rows if task in taught]
    return list(dict.fromkeys(found))


def _left(session: Session, request: DeletionRequest, version: Version) -> list[int]:
    """The request's instances that still teach the version one of its tasks."""
    taught: dict[int, set[str]] = defaultdict(set)
    if request.root_id == version.root_id:
        for instance, task in cells_of(session, request):
            taught[instance.pk].add(task)
    else:
        old, new = aliased(Instance), aliased(Instance)
        rows = session.execute(
            select(new.pk, new.tasks)
            .join(old, old.instance_id == new.instance_id)
            .join(RequestInstance, RequestInstance.instance_pk == old.pk)
            .where(RequestInstance.request_id == request.id, new.root_id == version.root_id)
        )
        taught |= {pk: set(tasks).intersection(request.tasks) for pk, tasks in rows}
    gone = forgotten_tasks(session, version.id, sorted(taught))
    return [pk for pk, tasks in sorted(taught.items()) if tasks - gone.get(pk, set())]


def _again(session: Session, lost: Lost, version: Version, actor: str) -> DeletionRequest:
    """A new request for what the version's own manifest still names, due when the old one was."""
    old, now = lost.request, database_now(session)
    request = DeletionRequest(
        id=new_id("req"),
        tenant_id=old.tenant_id,
        model_id=old.model_id,
        root_id=version.root_id,
        state=RequestState.RECEIVED,
        scope=old.scope,
        tasks=old.tasks,
        subjects=old.subjects,
        instance_count=len(lost.instances),
        unknown_instances=[],
        reason=old.reason,
        external_id=old.external_id,
        priority=old.priority,
        received_at=old.received_at,
        due_at=old.due_at,
        exceptions=[],
        created_by=actor,
        created_at=now,
        updated_at=now,
    )
    session.add(request)
    session.flush()
    rows = [{"request_id": request.id, "instance_pk": pk} for pk in lost.instances]
    for start in range(0, len(rows), CHUNK):
        session.execute(insert(RequestInstance), rows[start : start + CHUNK])
    told = {"model": old.model_id, "root": version.root_id, "reopens": old.id}
    ledger.append(session, old.tenant_id, "request.received", request.id, actor, told)
    return request
