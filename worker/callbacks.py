"""Tells OpenDSR controllers of their requests' status, until the worker stops."""

import asyncio
import logging
import threading
from collections.abc import Sequence

from app.db import Database
from app.opendsr import callbacks
from app.opendsr.callbacks import ClaimedCallback
from app.settings import Settings
from app.webhooks.sending import send

log = logging.getLogger(__name__)


def call_back(database: Database, settings: Settings, stop: threading.Event) -> int:
    """How many callbacks were attempted until nothing was due, or until `stop` was set.

    What a dying worker leaves is sent again when its lease has run out.
    """
    sent = 0
    while not stop.is_set():
        callbacks.derive(database)
        claimed = callbacks.claim(database, settings)
        if not claimed:
            break
        asyncio.run(_send_all(database, settings, claimed))
        sent += len(claimed)
    return sent


async def _send_all(
    database: Database, settings: Settings, claimed: Sequence[ClaimedCallback]
) -> None:
    await asyncio.gather(*(_send(database, settings, one) for one in claimed))


async def _send(database: Database, settings: Settings, claimed: ClaimedCallback) -> None:
    outcome = await send(
        claimed.message,
        timeout=settings.webhook_timeout_seconds,
        allow_loopback=settings.webhook_allow_loopback,
    )
    await asyncio.to_thread(callbacks.settle, database, settings, claimed, outcome)
    level = logging.INFO if outcome.delivered else logging.WARNING
    log.log(level, "opendsr callback=%s status=%s", claimed.id, outcome.status)
