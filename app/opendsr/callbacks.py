"""Callbacks to OpenDSR controllers: one a URL for each change of a request's status.

They are made from ledger events, of which a cursor passes over none, claimed by lease, sent through
the webhooks' guard against inner addresses, and tried again as webhooks are: at least once.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from app.db import Database, database_now
from app.dsr_tables import DsrCallback, DsrCursor, DsrRequest
from app.opendsr.processor import Processor, ProcessorFault
from app.schemas.opendsr import DsrCallbackBody
from app.services.opendsr import tell
from app.settings import Settings
from app.states import DeliveryState
from app.tables import DeletionRequest, LedgerEvent, LedgerHead
from app.webhooks.queue import wait_before
from app.webhooks.sending import Message, Outcome

_EVENTS = 500
"""Looked at in one transaction."""
_AT_ONCE = 20
_LEASE = timedelta(seconds=90)
"""Well over the longest time limit of an attempt, 30 s."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClaimedCallback:
    """A callback that is this worker's until its lease runs out."""

    id: str
    attempt: int
    message: Message


def derive(database: Database) -> int:
    """How many callbacks were made of changes that no controller was told of yet.

    Only requests are looked at that the ledger has something new of.
    """
    behind = (
        select(DsrCursor.tenant_id)
        .join(LedgerHead, LedgerHead.tenant_id == DsrCursor.tenant_id)
        .where(DsrCursor.seq < LedgerHead.seq)
    )
    with database.read() as session:
        tenants = session.scalars(behind).all()
    made = 0
    for tenant_id in tenants:
        more = True
        while more:
            with database.write() as session, session.begin():
                count, more = _derive(session, tenant_id)
            made += count
    return made


def _derive(session: Session, tenant_id: str) -> tuple[int, bool]:
    """How many callbacks the tenant's next events made, and whether there may be more of those."""
    cursor = session.scalar(
        select(DsrCursor).where(DsrCursor.tenant_id == tenant_id).with_for_update(skip_locked=True)
    )
    if cursor is None:
        return 0, False
    events = session.execute(
        select(LedgerEvent.seq, LedgerEvent.kind, LedgerEvent.entity_id)
        .where(LedgerEvent.tenant_id == tenant_id, LedgerEvent.seq > cursor.seq)
        .order_by(LedgerEvent.seq)
        .limit(_EVENTS)
    ).all()
    if not events:
        return 0, False
    cursor.seq = events[-1].seq
    changed = {event.entity_id for event in events if event.kind.startswith("request.")}
    asked = select(DeletionRequest.external_id).where(DeletionRequest.id.in_(changed))
    rows = session.scalars(
        select(DsrRequest)
        .where(DsrRequest.tenant_id == tenant_id, DsrRequest.subject_request_id.in_(asked))
        .order_by(DsrRequest.id)
        .with_for_update()
    ).all()
    return sum(tell(session, row) for row in rows), len(events) == _EVENTS


def claim(database: Database, settings: Settings) -> Sequence[ClaimedCallback]:
    """Some callbacks whose time has come, leased to the caller, who must send them now."""
    with database.read() as session:
        if session.scalar(_due(session).limit(1)) is None:
            return []
    try:
        processor = Processor.load(settings)
    except ProcessorFault as fault:
        _log.error("OpenDSR callbacks wait: %s", fault)
        return []
    with database.write() as session, session.begin():
        rows = session.scalars(
            _due(session)
            .order_by(DsrCallback.next_attempt_at, DsrCallback.id)
            .limit(_AT_ONCE)
            .with_for_update(skip_locked=True)
        ).all()
        now = database_now(session)
        claimed = []
        for row in rows:
            row.attempts += 1
            row.next_attempt_at = now + _LEASE
            body = _body(session.get_one(DsrRequest, row.dsr_id), row)
            message = Message(row.id, row.url, body, keys=(), headers=processor.headers(body))
            claimed.append(ClaimedCallback(row.id, row.attempts, message))
        return claimed


def settle(
    database: Database, settings: Settings, claimed: ClaimedCallback, outcome: Outcome
) -> None:
    """Write down what came of an attempt, unless another one has begun since."""
    with database.write() as session, session.begin():
        row = session.get(DsrCallback, claimed.id, with_for_update=True)
        if row is None or row.attempts != claimed.attempt or row.state != DeliveryState.WAITING:
            return
        row.last_answer = outcome.answer
        if outcome.delivered:
            row.state = DeliveryState.DELIVERED
        elif row.attempts < settings.webhook_max_attempts:
            wait = wait_before(row.attempts, settings.webhook_retry_seconds, outcome.retry_after)
            row.next_attempt_at = database_now(session) + wait
        else:
            row.state = DeliveryState.DEAD


def prune(database: Database, keep_seconds: float) -> None:
    """Drop what was delivered so long ago."""
    with database.write() as session, session.begin():
        before = database_now(session) - timedelta(seconds=keep_seconds)
        session.execute(
            delete(DsrCallback).where(
                DsrCallback.state == DeliveryState.DELIVERED,
                # The end of the lease under which it was delivered.
                DsrCallback.next_attempt_at < before,
            )
        )


def _due(session: Session) -> Select[DsrCallback]:
    return select(DsrCallback).where(
        DsrCallback.state == DeliveryState.WAITING,
        DsrCallback.next_attempt_at <= database_now(session),
    )


def _body(dsr: DsrRequest, row: DsrCallback) -> bytes:
    told = DsrCallbackBody(
        controller_id=row.tenant_id,
        status_callback_url=row.url,
        subject_request_id=dsr.subject_request_id,
        request_status=row.status,
        expected_completion_time=dsr.expected_completion_time,
        results_count=len(dsr.deletion_requests),
    )
    return told.model_dump_json().encode()
