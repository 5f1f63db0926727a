"""The worker as a program: `python -m worker local | celery | relay`.

SIGTERM and SIGINT: no more work is taken, the engine is ended, its job goes back to the queue at
once, and the exit code is 0.
"""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence

from sqlalchemy.exc import OperationalError

from app import migrate
from app.db import Database
from app.settings import Settings, get_settings
from worker.celery_app import make_app, publisher, run_celery
from worker.main import run_local
from worker.presence import Presence
from worker.relay import relay
from worker.run_job import Workshop

_USAGE = 2
_UNAVAILABLE = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one kind of worker and return the exit code."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    settings = get_settings()
    if arguments.kind != "local" and settings.broker_url is None:
        return _refuse(f"EXPUNGE_BROKER_URL is not set, and `{arguments.kind}` needs a broker")
    problem = _schema_problem(settings)
    if problem is not None:
        return _refuse(problem, _UNAVAILABLE)
    stop = threading.Event()
    for which in (signal.SIGTERM, signal.SIGINT):
        signal.signal(which, lambda *_: stop.set())
    _RUN[arguments.kind](settings, stop)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker",
        description="Take jobs from the database and run the engine. Settings come from EXPUNGE_*.",
    )
    parser.add_argument(
        "kind",
        nargs="?",
        default="local",
        choices=sorted(_RUN),
        help="local (the default): look for work in the database, no broker needed; celery: a"
        " Celery worker that is rung through EXPUNGE_BROKER_URL; relay: carry messages from the"
        " database to the broker and keep house, run no jobs",
    )
    return parser


def _schema_problem(settings: Settings) -> str | None:
    database = Database(settings.database)
    try:
        revision = migrate.current(database)
    except OperationalError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        return f"the database cannot be reached: {reason}"
    finally:
        database.dispose()
    if revision is None:
        return "the database has no schema: run `python -m app db upgrade` first"
    return None


def _refuse(reason: str, code: int = _USAGE) -> int:
    print(f"python -m worker: {reason}", file=sys.stderr)
    return code


def _local(settings: Settings, stop: threading.Event) -> None:
    run_local(Workshop.open(settings, Presence.here(), stop))


def _celery(settings: Settings, stop: threading.Event) -> None:
    run_celery(Workshop.open(settings, Presence.here(), stop))


def _relay(settings: Settings, stop: threading.Event) -> None:
    app = make_app(settings.broker_url)
    relay(settings, Database(settings.database), publisher(app), stop)


_RUN = {"celery": _celery, "local": _local, "relay": _relay}


if __name__ == "__main__":
    sys.exit(main())
