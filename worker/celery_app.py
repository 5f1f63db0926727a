"""Celery as the doorbell: one Celery task, whose message is a job's id and means "there is work".

The job itself is claimed from SQL, the most urgent first, whatever id the message bears. So the
broker's order does not matter, and neither does a message that is lost or comes twice.
"""

import threading
from collections.abc import Callable

from celery import Celery
from celery.signals import worker_shutting_down

from app.services.retention import purge_due
from worker.housekeeping import Housekeeping
from worker.run_job import Workshop, work_until_idle
from worker.staging import sweep_staging, sweep_states

RING = "expunge.ring"


def make_app(broker_url: str | None) -> Celery:
    """The Celery application of relay and workers."""
    app = Celery("expunge", broker=broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue="expunge",
        # Acknowledged before the run: SQL's lease, not Redis' visibility timeout, guards a job.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"socket_keepalive": True, "health_check_interval": 30},
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
    )
    return app


def publisher(app: Celery) -> Callable[[str], None]:
    """What the relay calls to ring for a job."""

    def publish(job_id: str) -> None:
        app.send_task(
            RING,
            (job_id,),
            task_id=job_id,
            retry_policy={"max_retries": 1, "interval_start": 0},
        )

    return publish


def run_celery(shop: Workshop) -> None:
    """A Celery worker in this process, one job at a time, until SIGTERM or SIGINT.

    Its task runs in a thread, so that the consumer stays responsive.
    """
    settings = shop.settings
    app = make_app(settings.broker_url)
    busy = threading.Lock()

    @app.task(name=RING)  # type: ignore[untyped-decorator]
    def ring(_job_id: str) -> None:
        with busy:
            work_until_idle(shop)

    @worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def stop(**_: object) -> None:
        shop.stop.set()

    def look_anyway() -> None:
        """A worker that lost its broker for good is slow, not deaf."""
        if busy.acquire(blocking=False):
            try:
                work_until_idle(shop)
            finally:
                busy.release()

    chores = (
        lambda: shop.presence.show(shop.database),
        lambda: sweep_staging(settings.state_dir, shop.database),
        lambda: sweep_states(settings.state_dir, shop.database),
    )
    with (
        Housekeeping(settings.heartbeat_seconds, chores),
        Housekeeping(settings.ring_again_seconds, [look_anyway]),
        Housekeeping(settings.purge_seconds, [lambda: purge_due(shop.database, shop.weights)]),
    ):
        app.worker_main(
            [
                "worker",
                "--pool=threads",
                "--concurrency=1",
                "--without-gossip",
                "--without-mingle",
                f"--hostname={shop.presence.name}",
                "--loglevel=INFO",
            ]
        )
    shop.presence.leave(shop.database)
