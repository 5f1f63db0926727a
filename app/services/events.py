"""Ledger events read back: all of a tenant's, or those that tell of one request."""

import json
from collections.abc import Sequence

from sqlalchemy import select, union
from sqlalchemy.orm import Session

from app.schemas.events import EventView
from app.tables import DeletionRequest, JobRequest, LedgerEvent, Version


def list_events(
    session: Session,
    tenant_id: str,
    *,
    after: int,
    limit: int,
    request_id: str | None = None,
) -> Sequence[LedgerEvent]:
    """Up to `limit` events behind number `after`, oldest first.

    With `request_id`, only those of the request, of the jobs that served it, and of the versions
    that those jobs made.
    """
    rows = select(LedgerEvent).where(LedgerEvent.seq > after)
    if request_id is None:
        rows = rows.where(LedgerEvent.tenant_id == tenant_id)
    else:
        jobs = select(JobRequest.job_id).where(JobRequest.request_id == request_id)
        entities = union(
            select(DeletionRequest.id).where(DeletionRequest.id == request_id),
            jobs,
            select(Version.id).where(Version.job_id.in_(jobs)),
        )
        # Ids rather than a subquery, and a tenant that no index knows: so that either database
        # walks its index on the entity, and not all of the tenant's events in their order.
        rows = rows.where(
            LedgerEvent.entity_id.in_(session.scalars(entities).all()),
            LedgerEvent.tenant_id.concat("") == tenant_id,
        )
    return session.scalars(rows.order_by(LedgerEvent.seq).limit(limit)).all()


def view(event: LedgerEvent) -> EventView:
    """An event as callers see it."""
    body = json.loads(event.body)
    return EventView(**body, prev_hash=event.prev_hash, hash=event.hash)
