"""Deliveries: made from ledger events, claimed by workers, settled by what came of them.

An event is never passed over: an endpoint's cursor moves in the transaction that writes the
deliveries of the events up to it. A worker that dies between sending and settling leaves a lease
that runs out, and the delivery is sent again: at least once.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from app import ledger
from app.db import Database, database_now
from app.ids import new_id
from app.services import events
from app.settings import Settings
from app.states import DeliveryState
from app.tables import LedgerEvent, LedgerHead, WebhookDelivery, WebhookEndpoint
from app.webhooks.secret_box import KeyFault, SecretBox, SecretUnreadable
from app.webhooks.sending import Message, Outcome

_EVENTS = 500
"""Looked at in one transaction."""
_ENDPOINTS = 8
_EACH = 4
"""Deliveries that are claimed at once for one endpoint: a slow one must not keep the others."""
_LEASE = timedelta(seconds=90)
"""Well over the longest time limit of an attempt, 30 s."""
_FACTOR = 4
_LONGEST_WAIT = 12 * 3600.0
_KEEP = timedelta(days=30)
_GONE = 410
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claimed:
    """A delivery that is this worker's until its lease runs out."""

    endpoint_id: str
    fence: int
    message: Message


def derive(database: Database) -> int:
    """How many deliveries were made of events that some endpoint had not been told of."""
    behind = (
        select(WebhookEndpoint.id)
        .join(LedgerHead, LedgerHead.tenant_id == WebhookEndpoint.tenant_id)
        .where(WebhookEndpoint.disabled_at.is_(None), WebhookEndpoint.cursor < LedgerHead.seq)
    )
    with database.read() as session:
        waiting = session.scalars(behind).all()
    made = 0
    for endpoint_id in waiting:
        with database.write() as session, session.begin():
            endpoint = session.scalar(
                select(WebhookEndpoint)
                .where(WebhookEndpoint.id == endpoint_id)
                .with_for_update(skip_locked=True)
            )
            if endpoint is not None:
                made += _derive(session, endpoint)
    return made


def _derive(session: Session, endpoint: WebhookEndpoint) -> int:
    found = session.execute(
        select(LedgerEvent.seq, LedgerEvent.kind)
        .where(LedgerEvent.tenant_id == endpoint.tenant_id, LedgerEvent.seq > endpoint.cursor)
        .order_by(LedgerEvent.seq)
        .limit(_EVENTS)
    ).all()
    if not found:
        return 0
    last = found[-1][0]
    known = set(
        session.scalars(
            select(WebhookDelivery.event_seq).where(
                WebhookDelivery.endpoint_id == endpoint.id,
                WebhookDelivery.event_seq > endpoint.cursor,
                WebhookDelivery.event_seq <= last,
            )
        )
    )
    now = database_now(session)
    new = [
        WebhookDelivery(
            id=new_id("dlv"),
            endpoint_id=endpoint.id,
            event_seq=seq,
            kind=kind,
            state=DeliveryState.WAITING,
            next_attempt_at=now,
            waiting_since=now,
            created_at=now,
        )
        for seq, kind in found
        if seq not in known and wants(endpoint.kinds, kind)
    ]
    session.add_all(new)
    endpoint.cursor = last
    return len(new)


def wants(kinds: Sequence[str], kind: str) -> bool:
    """Whether an endpoint with this filter is told of events of this kind."""
    return not kinds or any(
        kind.startswith(one[:-1]) if one.endswith("*") else kind == one for one in kinds
    )


def claim(database: Database, settings: Settings) -> Sequence[Claimed]:
    """Some deliveries whose time has come, leased to the caller, who must send them now."""
    with database.read() as session:
        endpoints = session.scalars(
            select(WebhookDelivery.endpoint_id)
            .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
            .where(*_due(session), WebhookEndpoint.disabled_at.is_(None))
            .group_by(WebhookDelivery.endpoint_id)
            .order_by(func.min(WebhookDelivery.next_attempt_at))
            .limit(_ENDPOINTS)
        ).all()
    if not endpoints:
        return []
    try:
        box = SecretBox.load(settings)
    except KeyFault as fault:
        _log.error("webhook deliveries wait: %s", fault)
        return []
    claimed: list[Claimed] = []
    for endpoint_id in endpoints:
        with database.write() as session, session.begin():
            claimed += _claim(session, settings, box, endpoint_id)
    return claimed


def _claim(
    session: Session, settings: Settings, box: SecretBox, endpoint_id: str
) -> Sequence[Claimed]:
    # The endpoint first, as whoever settles or replays does, so that neither waits for the other.
    endpoint = session.get(WebhookEndpoint, endpoint_id, with_for_update=True)
    if endpoint is None or endpoint.disabled_at is not None:
        return []
    rows = session.scalars(
        select(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint_id, *_due(session))
        .order_by(WebhookDelivery.next_attempt_at, WebhookDelivery.event_seq)
        .limit(_EACH)
        .with_for_update(skip_locked=True)
    ).all()
    now = database_now(session)
    stored = [endpoint.secret]
    until = endpoint.former_secret_until
    if endpoint.former_secret is not None and until is not None and until > now:
        stored.append(endpoint.former_secret)
    for row in rows:
        row.attempts += 1
        row.fence += 1
        row.last_attempt_at = now
    try:
        keys = [box.open(one) for one in stored]
    except SecretUnreadable as error:
        for row in rows:
            _settle(session, settings, endpoint, row, Outcome(None, f"not sent: {error}"))
        return []
    claimed = []
    for row in rows:
        row.lease_expires_at = now + _LEASE
        event = session.get_one(LedgerEvent, (endpoint.tenant_id, row.event_seq))
        body = events.view(event).model_dump_json().encode()
        message = Message(row.id, endpoint.url, body, keys)
        claimed.append(Claimed(endpoint.id, row.fence, message))
    return claimed


def _due(session: Session) -> Sequence[Any]:
    now = database_now(session)
    free = WebhookDelivery.lease_expires_at
    return (
        WebhookDelivery.state == DeliveryState.WAITING,
        WebhookDelivery.next_attempt_at <= now,
        or_(free.is_(None), free <= now),
    )


def settle(database: Database, settings: Settings, claimed: Claimed, outcome: Outcome) -> None:
    """Write down what came of an attempt, unless the delivery has changed hands since."""
    with database.write() as session, session.begin():
        # The endpoint first, as whoever replays does, so that neither waits for the other.
        endpoint = session.get(WebhookEndpoint, claimed.endpoint_id, with_for_update=True)
        mine = WebhookDelivery.id == claimed.message.id, WebhookDelivery.fence == claimed.fence
        row = session.scalar(select(WebhookDelivery).where(*mine).with_for_update())
        if endpoint is None or row is None:
            return
        _settle(session, settings, endpoint, row, outcome)


def _settle(
    session: Session,
    settings: Settings,
    endpoint: WebhookEndpoint,
    row: WebhookDelivery,
    outcome: Outcome,
) -> None:
    now = database_now(session)
    row.lease_expires_at = None
    row.last_status, row.last_answer = outcome.status, outcome.answer
    if outcome.delivered:
        row.state = DeliveryState.DELIVERED
        endpoint.failing_since = None
        return
    endpoint.failing_since = endpoint.failing_since or now
    if row.attempts < settings.webhook_max_attempts:
        wait = wait_before(row.attempts, settings.webhook_retry_seconds, outcome.retry_after)
        row.next_attempt_at = now + wait
    else:
        row.state = DeliveryState.DEAD
    if outcome.status == _GONE:
        _disable(session, endpoint, "the receiver answered 410 Gone")
    elif row.state == DeliveryState.DEAD:
        longest = timedelta(seconds=settings.webhook_disable_after_seconds)
        if now - endpoint.failing_since >= longest:
            since = endpoint.failing_since.isoformat(timespec="seconds")
            _disable(session, endpoint, f"nothing was delivered since {since}")


def wait_before(attempts: int, first: float, asked: float | None) -> timedelta:
    """How long to wait after so many attempts: four times longer each time, at least half of it.

    The rest is left to chance, so that what failed together does not come back together. A receiver
    that `asked` for longer is left alone for so many seconds, but no longer than `_LONGEST_WAIT`.
    """
    longest = min(first * _FACTOR ** min(attempts - 1, 30), _LONGEST_WAIT)
    own = random.uniform(longest / 2, longest)
    return timedelta(seconds=max(own, min(asked or 0.0, _LONGEST_WAIT)))


def _disable(session: Session, endpoint: WebhookEndpoint, reason: str) -> None:
    if endpoint.disabled_at is None:
        endpoint.disabled_at, endpoint.disabled_reason = database_now(session), reason
        kind = "webhook_endpoint.disabled"
        told = {"reason": reason}
        ledger.append(session, endpoint.tenant_id, kind, endpoint.id, "service", told)


def again(session: Session) -> dict[str, Any]:
    """What a replay writes to a delivery; an attempt under way settles nothing any more."""
    now = database_now(session)
    return {
        "state": DeliveryState.WAITING,
        "attempts": 0,
        "next_attempt_at": now,
        "waiting_since": now,
        "lease_expires_at": None,
        "fence": WebhookDelivery.fence + 1,
    }


def prune_deliveries(database: Database) -> None:
    """Drop what was delivered a month ago; a replay from a cursor makes it again."""
    with database.write() as session, session.begin():
        old = WebhookDelivery.last_attempt_at < database_now(session) - _KEEP
        delivered = WebhookDelivery.state == DeliveryState.DELIVERED
        session.execute(delete(WebhookDelivery).where(delivered, old))


def replay_after(session: Session, endpoint: WebhookEndpoint, seq: int) -> None:
    """Let every wanted event behind number `seq` be delivered once more."""
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.event_seq > seq)
        .values(again(session))
        .execution_options(synchronize_session=False)
    )
    endpoint.cursor = min(endpoint.cursor, seq)
