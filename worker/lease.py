"""The heartbeat of a claimed job: keeps the lease, tells progress, hears when to stop."""

import logging
import threading
import time
from typing import Self

from sqlalchemy.exc import DBAPIError

from app.db import Database
from app.services.attempts import Claim
from app.services.execution import Order, renew
from engine.spec import Progress

log = logging.getLogger(__name__)

_NEWS_SECONDS = 1.0
"""Progress is written at most this often; a new phase at once."""


class Lease:
    """A thread that renews the claim for as long as the context lasts."""

    def __init__(
        self, database: Database, claim: Claim, lease_seconds: float, heartbeat_seconds: float
    ) -> None:
        self.order = Order.GO_ON
        """The database's last word."""
        self._database = database
        self._claim = claim
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._progress: Progress | None = None
        self._told: Progress | None = None
        self._wake = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._wake.set()
        self._thread.join()

    def report(self, progress: Progress) -> None:
        """Take note of how far the engine is; the next heartbeat tells it."""
        first_of_phase = self._progress is None or self._progress.phase != progress.phase
        self._progress = progress
        if first_of_phase:
            self._wake.set()

    def _beat(self) -> None:
        beaten = time.monotonic()  # the claim itself was the first sign of life
        while self.order is not Order.LOST:
            self._wake.wait(min(_NEWS_SECONDS, self._heartbeat_seconds))
            self._wake.clear()
            if self._over:
                return
            news = self._progress is not self._told
            if not news and time.monotonic() - beaten < self._heartbeat_seconds:
                continue
            try:
                self._renew()
                beaten = time.monotonic()
            except DBAPIError as error:
                log.warning(
                    "heartbeat failed job=%s fence=%d error=%s",
                    self._claim.job_id,
                    self._claim.fence,
                    type(error).__name__,
                )

    def _renew(self) -> None:
        progress = self._progress
        with self._database.write() as session, session.begin():
            order = renew(session, self._claim, self._lease_seconds, progress)
        self.order, self._told = order, progress
