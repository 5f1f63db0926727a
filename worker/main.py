"""The loop without a broker: look for work, run it, keep house. Enough for one machine."""

import logging

from sqlalchemy.exc import DBAPIError

from app.opendsr.callbacks import prune as prune_callbacks
from app.services.retention import purge_due
from app.webhooks.queue import prune_deliveries
from worker.callbacks import call_back
from worker.housekeeping import Housekeeping, answer_outbox, expire, prune, reap_all
from worker.run_job import Workshop, work_until_idle
from worker.staging import sweep_staging, sweep_states
from worker.webhooks import deliver

log = logging.getLogger(__name__)

_DATABASE_AWAY_SECONDS = 1.0


def run_local(shop: Workshop) -> None:
    """Work until the shop's `stop` is set; the job in hand is then given back."""
    database, settings = shop.database, shop.settings
    chores = (
        lambda: shop.presence.show(database),
        lambda: reap_all(database, settings.max_attempts),
        lambda: expire(database),
        lambda: answer_outbox(database),
        lambda: prune(database),
        lambda: prune_deliveries(database),
        lambda: call_back(database, settings, shop.stop),
        lambda: prune_callbacks(database, settings.dsr_callback_keep_seconds),
        lambda: sweep_staging(settings.state_dir, database),
        lambda: sweep_states(settings.state_dir, database),
    )
    with (
        Housekeeping(settings.heartbeat_seconds, chores),
        Housekeeping(settings.poll_seconds, [lambda: deliver(database, settings, shop.stop)]),
        Housekeeping(settings.purge_seconds, [lambda: purge_due(database, shop.weights)]),
    ):
        while not shop.stop.is_set():
            wait = settings.poll_seconds
            try:
                work_until_idle(shop)
            except DBAPIError as error:
                log.warning("database is away error=%s", type(error).__name__)
                wait = max(wait, _DATABASE_AWAY_SECONDS)
            shop.stop.wait(wait)
    shop.presence.leave(database)
