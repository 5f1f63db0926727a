"""Restriction of processing (GDPR Art. 18): what must not be trained on while a request waits.

A failed request restricts too: what it asks for is not done, and nobody has refused it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.states import FINISHED_REQUEST, RequestState
from app.tables import DeletionRequest, Instance, Model, RequestInstance, Version

RESTRICTING = frozenset(RequestState) - FINISHED_REQUEST | {RequestState.FAILED}
"""The states in which a request restricts what it names."""


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
    first = _next_instance(session, model, after_pk)
    if first is None:
        return []
    pks = session.scalars(
        _named(model)
        .with_only_columns(RequestInstance.instance_pk)
        .where(RequestInstance.instance_pk >= first)
        .distinct()
        .order_by(RequestInstance.instance_pk)
        .limit(limit)
    ).all()
    rows = session.execute(
        _named(model)
        .with_only_columns(
            Instance.pk,
            Instance.instance_id,
            Instance.tasks,
            DeletionRequest.id,
            DeletionRequest.tasks.label("asked"),
            DeletionRequest.received_at,
        )
        .join(Instance, Instance.pk == RequestInstance.instance_pk)
        .where(Instance.pk.in_(pks))
        .order_by(Instance.pk, DeletionRequest.id)
    )
    found: dict[int, Restricted] = {}
    for pk, instance_id, taught, request_id, asked, received_at in rows:
        one = found.setdefault(pk, Restricted(pk, instance_id, received_at))
        one.since = min(one.since, received_at)
        one.requests.append(request_id)
        one.tasks = _either(taught, one.tasks, asked)
    return list(found.values())


def _next_instance(session: Session, model: Model, after_pk: int) -> int | None:
    """The model's next instance: those of other models that lie before it are not to be walked."""
    roots = session.scalars(
        select(Version.id).where(Version.model_id == model.id, Version.parent_id.is_(None))
    )
    first = select(func.min(Instance.pk)).where(Instance.pk > after_pk)
    found = [session.scalar(first.where(Instance.root_id == root)) for root in roots.all()]
    return min((pk for pk in found if pk is not None), default=None)


def _named(model: Model) -> Select[RequestInstance]:
    return (
        select(RequestInstance)
        .join(DeletionRequest, DeletionRequest.id == RequestInstance.request_id)
        .where(DeletionRequest.model_id == model.id, DeletionRequest.state.in_(RESTRICTING))
    )


def _either(taught: Sequence[str], one: Sequence[str], other: Sequence[str]) -> list[str]:
    return [task for task in taught if task in one or task in other]
