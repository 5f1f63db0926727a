"""From the outbox to the broker, each message at least once.

A message that is sent twice, or lost by the broker, costs nothing: it only says that there is work.
"""

import logging
import threading
from collections.abc import Callable

from celery.exceptions import OperationalError
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from app.db import Database, database_now
from app.opendsr.callbacks import prune as prune_callbacks
from app.settings import Settings
from app.states import JobState
from app.tables import Job, OutboxMessage
from app.webhooks.queue import prune_deliveries
from worker.callbacks import call_back
from worker.housekeeping import Housekeeping, expire, prune, reap_all, ring_again
from worker.webhooks import deliver

log = logging.getLogger(__name__)

_BATCH = 100
_BROKER_AWAY_SECONDS = 1.0


def relay(
    settings: Settings,
    database: Database,
    publish: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """Publish until `stop` is set; the chores of the whole installation are done meanwhile."""
    chores = (
        lambda: reap_all(database, settings.max_attempts),
        lambda: expire(database),
        lambda: ring_again(database, settings.ring_again_seconds),
        lambda: prune(database),
        lambda: prune_deliveries(database),
        lambda: call_back(database, settings, stop),
        lambda: prune_callbacks(database, settings.dsr_callback_keep_seconds),
    )
    with (
        Housekeeping(settings.heartbeat_seconds, chores),
        Housekeeping(settings.poll_seconds, [lambda: deliver(database, settings, stop)]),
    ):
        while not stop.is_set():
            wait = settings.poll_seconds
            try:
                if publish_batch(database, publish) == _BATCH:
                    continue
            except (OperationalError, DBAPIError, OSError) as error:
                log.warning("relay waits error=%s", type(error).__name__)
                wait = max(wait, _BROKER_AWAY_SECONDS)
            stop.wait(wait)


def publish_batch(database: Database, publish: Callable[[str], None]) -> int:
    """How many messages went out; those of jobs whose time has not come stay.

    No lock is held while the broker is spoken to, and a message is marked only afterwards.
    """
    with database.read() as session:
        due = session.execute(
            select(OutboxMessage.id, OutboxMessage.job_id)
            .join(Job, Job.id == OutboxMessage.job_id)
            .where(
                OutboxMessage.published_at.is_(None),
                (Job.state != JobState.QUEUED) | (Job.not_before <= database_now(session)),
            )
            .order_by(OutboxMessage.id)
            .limit(_BATCH)
        ).all()
    sent: list[int] = []
    try:
        for message_id, job_id in due:
            publish(job_id)
            sent.append(message_id)
            log.info("rung job=%s", job_id)
    finally:
        if sent:
            with database.write() as session, session.begin():
                session.execute(
                    update(OutboxMessage)
                    .where(OutboxMessage.id.in_(sent))
                    .values(published_at=database_now(session))
                )
    return len(due)
