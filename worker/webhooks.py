"""Sends what webhook endpoints wait for, until the worker stops.

Any number of workers may do so at once: each delivery is leased to one of them.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence

from app.db import Database
from app.settings import Settings
from app.webhooks import queue
from app.webhooks.queue import Claimed
from app.webhooks.sending import send

log = logging.getLogger(__name__)

_LOOK_FOR_STOP = 0.2


def deliver(database: Database, settings: Settings, stop: threading.Event) -> int:
    """How many deliveries were attempted until nothing was due, or until `stop` was set."""
    sent = 0
    while not stop.is_set():
        queue.derive(database)
        claimed = queue.claim(database, settings)
        if not claimed:
            break
        asyncio.run(_send_all(database, settings, claimed, stop))
        sent += len(claimed)
    return sent


async def _send_all(
    database: Database, settings: Settings, claimed: Sequence[Claimed], stop: threading.Event
) -> None:
    """Send at once, and settle each as its outcome comes; what `stop` cuts short is sent again."""
    sending = {asyncio.create_task(_send(database, settings, one)) for one in claimed}
    while sending and not stop.is_set():
        done, sending = await asyncio.wait(sending, timeout=_LOOK_FOR_STOP)
        for task in done:
            task.result()
    for task in sending:
        task.cancel()


async def _send(database: Database, settings: Settings, claimed: Claimed) -> None:
    outcome = await send(
        claimed.message,
        timeout=settings.webhook_timeout_seconds,
        allow_loopback=settings.webhook_allow_loopback,
    )
    await asyncio.to_thread(queue.settle, database, settings, claimed, outcome)
    level = logging.INFO if outcome.delivered else logging.WARNING
    log.log(level, "webhook delivery=%s status=%s", claimed.message.id, outcome.status)
