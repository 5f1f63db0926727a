"""Restriction of processing (GDPR Art. 18): what must not be trained on while a request waits.

A failed request restricts too: what it asks for is not done, and nobody has refused it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import bindparam, exists, func, select
from sqlalchemy.orm import Session

from app.prepared import Prepared
from app.services.cells import CHUNK
from app.states import FINISHED_REQUEST, RequestState
from app.tables import DeletionRequest, Instance, Model, RequestInstance, Version

RESTRICTING = frozenset(RequestState) - FINISHED_REQUEST | {RequestState.FAILED}
"""The states in which a request restricts what it names."""
_FEW = 200
"""Named instances that are gathered for a page."""
_ROOTS = Prepared(
    select(Version.id).where(
        Version.tenant_id == bindparam("tenant_id"),  # an index holds each tenant's roots
        Version.model_id == bindparam("model_id"),
        Version.parent_id.is_(None),
    )
)
_FIRST = Prepared(
    select(func.min(Instance.pk)).where(
        Instance.root_id == bindparam("root_id"), Instance.pk > bindparam("after")
    )
)


@dataclass
class Restricted:
    """One instance of a manifest and the tasks for which it must not be used for now."""

    pk: int
    instance_id: str
    since: datetime
    """When the first of the requests was received."""
    tasks: list[str] = field(default_factory=list)
    """Those that it teaches and a request names; may be empty."""
    requests: list[str] = field(default_factory=list)


def page(session: Session, model: Model, after_pk: int, limit: int) -> list[Restricted]:
    """Up to `limit` instances behind `after_pk`, in manifest order."""
    pks = _next_restricted(session, model, after_pk, limit)
    named = session.execute(
        select(Instance.pk, Instance.instance_id, Instance.tasks, RequestInstance.request_id)
        .join(RequestInstance, RequestInstance.instance_pk == Instance.pk)
        .where(Instance.pk.in_(pks))
        .order_by(Instance.pk, RequestInstance.request_id)
    ).all()
    asked = _asked(session, model, sorted({row.request_id for row in named}))
    found: dict[int, Restricted] = {}
    for pk, instance_id, taught, request_id in named:
        if request_id not in asked:
            continue
        tasks, received_at = asked[request_id]
        one = found.setdefault(pk, Restricted(pk, instance_id, received_at))
        one.since = min(one.since, received_at)
        one.requests.append(request_id)
        one.tasks = _either(taught, one.tasks, tasks)
    return list(found.values())


def _next_restricted(session: Session, model: Model, after_pk: int, limit: int) -> Sequence[int]:
    """The keys of the page's instances.

    Few are gathered from the requests that wait. Where there are more, what requests name is walked
    in manifest order, past what restricts no more.
    """
    waits = DeletionRequest.model_id == model.id, DeletionRequest.state.in_(RESTRICTING)
    pk, request_id = RequestInstance.instance_pk, RequestInstance.request_id
    few = session.scalars(
        select(pk).join(DeletionRequest, DeletionRequest.id == request_id).where(*waits).limit(_FEW)
    ).all()
    if len(few) < _FEW:
        return sorted({key for key in few if key > after_pk})[:limit]
    first = _next_instance(session, model, after_pk)
    if first is None:
        return []
    restricts = exists().where(DeletionRequest.id == request_id, *waits)
    walked = select(pk).where(pk >= first, restricts).distinct().order_by(pk)
    return session.scalars(walked.limit(limit)).all()


def _asked(
    session: Session, model: Model, request_ids: Sequence[str]
) -> dict[str, tuple[list[str], datetime]]:
    """Those of the requests that restrict: the tasks that they name, and since when."""
    found: dict[str, tuple[list[str], datetime]] = {}
    columns = DeletionRequest.id, DeletionRequest.tasks, DeletionRequest.received_at
    filtered = DeletionRequest.state, DeletionRequest.model_id
    for start in range(0, len(request_ids), CHUNK):
        # By id alone: with the filters in the query too, SQLite would find all that wait.
        some = DeletionRequest.id.in_(request_ids[start : start + CHUNK])
        for id, tasks, received_at, state, model_id in session.execute(
            select(*columns, *filtered).where(some)
        ):
            if model_id == model.id and state in RESTRICTING:
                found[id] = tasks, received_at
    return found


def _next_instance(session: Session, model: Model, after_pk: int) -> int | None:
    """The model's next instance: those of other models that lie before it are not to be walked."""
    roots = _ROOTS.rows(session, {"tenant_id": model.tenant_id, "model_id": model.id})
    found = [_FIRST.rows(session, {"root_id": root, "after": after_pk})[0][0] for (root,) in roots]
    return min((pk for pk in found if pk is not None), default=None)


def _either(taught: Sequence[str], one: Sequence[str], other: Sequence[str]) -> list[str]:
    return [task for task in taught if task in one or task in other]
