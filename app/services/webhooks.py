"""Webhook endpoints: made, changed, removed, replayed; each of it told to the ledger.

An endpoint's row is locked before the ledger's head, in the same order as by whoever delivers.
"""

import secrets
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app import ledger
from app.auth import Principal
from app.db import database_now
from app.ids import new_id
from app.problems import NotFound
from app.schemas.webhooks import EndpointChange, NewEndpoint
from app.states import DeliveryState
from app.tables import LedgerHead, WebhookDelivery, WebhookEndpoint
from app.webhooks import queue
from app.webhooks.secret_box import SecretBox


def create(
    session: Session, box: SecretBox, caller: Principal, body: NewEndpoint
) -> tuple[WebhookEndpoint, bytes]:
    """The new row, its cursor at the ledger's end or where the caller said, and its secret."""
    secret = secrets.token_bytes(32)
    row = WebhookEndpoint(
        id=new_id("whk"),
        tenant_id=caller.tenant_id,
        url=body.url,
        description=body.description,
        kinds=list(body.kinds),
        cursor=0,
        secret=box.seal(secret),
        created_at=database_now(session),
    )
    _tell(session, row, "created", caller.name)
    head = session.get_one(LedgerHead, caller.tenant_id)
    row.cursor = head.seq if body.after is None else min(body.after, head.seq)
    session.add(row)
    session.flush()
    return row, secret


def find(session: Session, tenant_id: str, endpoint_id: str, *, lock: bool) -> WebhookEndpoint:
    """The tenant's endpoint; 404 also where it is another tenant's. `lock` it to change it."""
    row = session.get(WebhookEndpoint, endpoint_id, with_for_update=lock)
    if row is None or row.tenant_id != tenant_id:
        raise NotFound("webhook endpoint", endpoint_id)
    return row


def page(
    session: Session, tenant_id: str, limit: int, after: str | None
) -> Sequence[WebhookEndpoint]:
    """The tenant's endpoints, newest first, behind the id `after`."""
    rows = select(WebhookEndpoint).where(WebhookEndpoint.tenant_id == tenant_id)
    if after is not None:
        rows = rows.where(WebhookEndpoint.id < after)
    return session.scalars(rows.order_by(WebhookEndpoint.id.desc()).limit(limit)).all()


def change(session: Session, row: WebhookEndpoint, body: EndpointChange, actor: str) -> None:
    """Make it as `body` says; enabling it lets everything that waited go out."""
    given = body.model_fields_set
    if body.url is not None:
        row.url = body.url
    if body.kinds is not None:
        row.kinds = list(body.kinds)
    if "description" in given:
        row.description = body.description
    if body.enabled is False and row.disabled_at is None:
        row.disabled_at, row.disabled_reason = database_now(session), f"by {actor}"
    if body.enabled:
        row.disabled_at = row.disabled_reason = row.failing_since = None
    session.flush()
    _tell(session, row, "changed", actor)


def remove(session: Session, row: WebhookEndpoint, actor: str) -> None:
    """Remove it with all of its deliveries."""
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.endpoint_id == row.id))
    session.delete(row)
    session.flush()
    _tell(session, row, "removed", actor)


def rotate(
    session: Session, box: SecretBox, row: WebhookEndpoint, overlap_seconds: float, actor: str
) -> bytes:
    """The new secret; deliveries are signed with the former one too for a while."""
    secret = secrets.token_bytes(32)
    until = database_now(session) + timedelta(seconds=overlap_seconds)
    row.former_secret, row.former_secret_until = row.secret, until
    row.secret = box.seal(secret)
    session.flush()
    _tell(session, row, "secret_rotated", actor)
    return secret


def deliveries(
    session: Session,
    endpoint: WebhookEndpoint,
    state: DeliveryState | None,
    limit: int,
    after: str | None,
) -> Sequence[WebhookDelivery]:
    """An endpoint's deliveries, newest first, behind the id `after`."""
    rows = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint.id)
    if state is not None:
        rows = rows.where(WebhookDelivery.state == state)
    if after is not None:
        rows = rows.where(WebhookDelivery.id < after)
    return session.scalars(rows.order_by(WebhookDelivery.id.desc()).limit(limit)).all()


def delivery(session: Session, endpoint: WebhookEndpoint, delivery_id: str) -> WebhookDelivery:
    """One delivery of the endpoint's; 404 where there is none."""
    row = session.get(WebhookDelivery, delivery_id)
    if row is None or row.endpoint_id != endpoint.id:
        raise NotFound("delivery", delivery_id)
    return row


def replay(session: Session, endpoint: WebhookEndpoint, delivery_id: str) -> WebhookDelivery:
    """Let one delivery wait again, whatever became of it before."""
    row = delivery(session, endpoint, delivery_id)
    for name, value in queue.again(session).items():
        setattr(row, name, value)
    session.flush()
    session.refresh(row)
    return row


def _tell(session: Session, row: WebhookEndpoint, what: str, actor: str) -> None:
    told = {"url": row.url, "kinds": row.kinds, "enabled": row.disabled_at is None}
    ledger.append(session, row.tenant_id, f"webhook_endpoint.{what}", row.id, actor, told)
