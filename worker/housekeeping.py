"""What has to be done now and then beside the jobs, by whichever worker comes first."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Self

from sqlalchemy import delete, exists, select, update
from sqlalchemy.exc import DBAPIError

from app.db import Database, database_now
from app.services import attempts
from app.services.approval import expire_overdue
from app.services.execution import reap
from app.states import JobState
from app.tables import Job, OutboxMessage, Worker

log = logging.getLogger(__name__)

_KEEP = timedelta(days=1)
"""For what nobody needs any more but somebody may want to look at."""


class Housekeeping:
    """A thread that does its chores at once and then at intervals, for as long as the context."""

    def __init__(self, seconds: float, chores: Sequence[Callable[[], object]]) -> None:
        self._seconds = seconds
        self._chores = chores
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for chore in self._chores:
                try:
                    chore()
                except DBAPIError as error:
                    log.warning("chore failed error=%s", type(error).__name__)
                except Exception:  # the thread's edge: the other chores must go on
                    log.exception("chore failed")
            if self._over.wait(self._seconds):
                return


def reap_all(database: Database, max_attempts: int) -> int:
    """How many jobs were taken from workers that stopped answering."""
    reaped = 0
    while True:
        with database.write() as session, session.begin():
            if not reap(session, max_attempts=max_attempts):
                break
        reaped += 1
    if reaped:
        log.warning("reaped jobs=%d", reaped)
    return reaped


def expire(database: Database) -> int:
    """How many held requests ended because nobody approved them before they were due."""
    with database.write() as session, session.begin():
        return expire_overdue(session)


def ring_again(database: Database, after_seconds: float) -> int:
    """Put jobs back into the outbox that could be claimed and were announced too long ago."""
    with database.write() as session, session.begin():
        before = database_now(session) - timedelta(seconds=after_seconds)
        announced = exists().where(
            OutboxMessage.job_id == Job.id,
            OutboxMessage.published_at.is_(None) | (OutboxMessage.published_at > before),
        )
        waiting = session.scalars(
            select(Job).where(
                Job.state == JobState.QUEUED,
                Job.not_before <= before,
                ~attempts.has_active_job(),
                ~announced,
            )
        ).all()
        for job in waiting:
            attempts.ring(session, job)
    return len(waiting)


def answer_outbox(database: Database) -> None:
    """Mark every message as delivered, for a worker that looks at the jobs themselves."""
    with database.write() as session, session.begin():
        session.execute(
            update(OutboxMessage)
            .where(OutboxMessage.published_at.is_(None))
            .values(published_at=database_now(session))
        )


def prune(database: Database) -> None:
    """Drop old messages that were delivered and workers that are long gone."""
    with database.write() as session, session.begin():
        before = database_now(session) - _KEEP
        session.execute(delete(OutboxMessage).where(OutboxMessage.published_at < before))
        session.execute(delete(Worker).where(Worker.seen_at < before))
