"""Callbacks to OpenDSR controllers: one a URL for each change of a request's status.

They are made by looking at the requests whose story is not over, claimed by lease, sent through the
webhooks' guard against inner addresses, and tried again as webhooks are: at least once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.db import Database, database_now
from app.dsr_tables import DsrCallback, DsrRequest
from app.ids import new_id
from app.opendsr.processor import Processor
from app.schemas.opendsr import DsrCallbackBody
from app.services.opendsr import status_of, statuses
from app.settings import Settings
from app.states import DeliveryState
from app.webhooks.queue import wait_before
from app.webhooks.sending import Message, Outcome

_OVER = ("completed", "cancelled")
_AT_ONCE = 20
_LEASE = timedelta(seconds=90)
"""Well over the longest time limit of an attempt, 30 s."""


@dataclass(frozen=True)
class ClaimedCallback:
    """A callback that is this worker's until its lease runs out."""

    id: str
    attempt: int
    message: Message


def derive(database: Database) -> int:
    """How many callbacks were made of changes that no controller was told of yet."""
    with database.read() as session:
        rows = session.scalars(select(DsrRequest).where(DsrRequest.told_status.not_in(_OVER))).all()
        now = statuses(session, rows)
        changed = [row.id for row in rows if now[row.id] != row.told_status]
    made = 0
    for dsr_id in changed:
        with database.write() as session, session.begin():
            made += _derive(session, dsr_id)
    return made


def _derive(session: Session, dsr_id: str) -> int:
    row = session.scalar(
        select(DsrRequest).where(DsrRequest.id == dsr_id).with_for_update(skip_locked=True)
    )
    if row is None:
        return 0
    status = status_of(session, row)
    if status == row.told_status:
        return 0
    row.told_status = status
    now = database_now(session)
    session.add_all(
        DsrCallback(
            id=new_id("cbk"),
            tenant_id=row.tenant_id,
            dsr_id=row.id,
            url=url,
            status=status,
            state=DeliveryState.WAITING,
            next_attempt_at=now,
        )
        for url in row.callback_urls
    )
    return len(row.callback_urls)


def claim(database: Database, settings: Settings) -> Sequence[ClaimedCallback]:
    """Some callbacks whose time has come, leased to the caller, who must send them now."""
    with database.read() as session:
        if session.scalar(_due(session).limit(1)) is None:
            return []
    processor = Processor.load(settings)
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
            wait = wait_before(row.attempts, settings.webhook_retry_seconds)
            row.next_attempt_at = database_now(session) + wait
        else:
            row.state = DeliveryState.DEAD


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
