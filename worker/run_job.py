"""One claimed job from its specification to its result in the database."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from app.db import Database
from app.restored_cache import RestoredCache
from app.services import claiming, completion, execution
from app.services.attempts import Claim, Fenced
from app.services.execution import Order
from app.services.stored_weights import DamagedWeights, StoredWeights, recipe_of
from app.settings import Settings
from app.signing import Signer
from app.storage import LocalStorage
from app.tables import Job, Version
from worker.lease import Lease
from worker.presence import Presence
from worker.staging import (
    BadResult,
    read_description,
    read_result,
    staging,
    write_spec,
)
from worker.supervise import End, Limits, Run, engine_command, engine_environment, supervise

log = logging.getLogger(__name__)

_ENGINE_GAVE_UP = 3
"""The engine's exit code for a reason that will be the same at every attempt."""
_ENDS = {Order.CANCEL: End.CANCELLED, Order.LOST: End.LOST}


@dataclass(frozen=True)
class Workshop:
    """What a worker process works with."""

    settings: Settings
    database: Database
    weights: StoredWeights
    signer: Signer
    presence: Presence
    stop: threading.Event
    """Set when the process is to end: take no more work, give back what is in hand."""

    @classmethod
    def open(cls, settings: Settings, presence: Presence, stop: threading.Event) -> "Workshop":
        """The parts that the settings name."""
        return cls(
            settings=settings,
            database=Database(settings.database),
            weights=StoredWeights(
                LocalStorage(settings.storage),
                RestoredCache(settings.restored_cache, settings.restored_cache_bytes),
            ),
            signer=Signer.load_or_create(settings.signing_key),
            presence=presence,
            stop=stop,
        )


def work_until_idle(shop: Workshop) -> int:
    """Run jobs, the most urgent first, until none can be claimed; how many there were."""
    done = 0
    while not shop.stop.is_set():
        with shop.database.write() as session, session.begin():
            claim = claiming.claim(
                session,
                shop.presence.name,
                shop.settings.lease_seconds,
                workloads=shop.presence.workloads,
            )
        if claim is None:
            break
        run_job(shop, claim)
        done += 1
    return done


def run_job(shop: Workshop, claim: Claim) -> None:
    """Carry out a claimed job; however it goes, the database knows the end of the attempt.

    Only a worker that is killed or loses the database for good leaves that to the reaper.
    """
    started = time.monotonic()
    settings = shop.settings
    _tell("claimed", claim, kind=claim.kind)
    try:
        with Lease(
            shop.database, claim, settings.lease_seconds, settings.heartbeat_seconds
        ) as lease:
            outcome = _attempt(shop, claim, lease)
    except Fenced:
        outcome = "fenced out"
    _tell(outcome, claim, seconds=f"{time.monotonic() - started:.1f}")


def _attempt(shop: Workshop, claim: Claim, lease: Lease) -> str:
    """What became of the attempt, in a word for the log."""
    try:
        with staging(shop.settings.state_dir, claim) as folder:
            return _work(shop, claim, folder, lease)
    except (Fenced, DBAPIError):
        raise
    except (OSError, BadResult, DamagedWeights) as error:  # a full disk, a file gone from storage
        why = f"{type(error).__name__}: {error}"
        return _fail(shop, claim, why, None, final=False)
    except Exception as error:  # one job's trouble must not end the worker
        log.exception("job broke job=%s fence=%d", claim.job_id, claim.fence)
        why = f"the worker could not carry it out: {type(error).__name__}"
        return _fail(shop, claim, why, None, final=False)


def _work(shop: Workshop, claim: Claim, folder: Path, lease: Lease) -> str:
    settings = shop.settings
    with shop.database.read() as session:
        spec = write_spec(session, claim, folder, shop.weights, settings)
    run = supervise(
        engine_command(spec, settings.engine_processes if claim.kind == "unlearn" else 1),
        engine_environment(os.environ),
        Limits(
            settings.job_time_limit_seconds,
            settings.job_memory_bytes,
            settings.kill_grace_seconds,
        ),
        lease.report,
        lambda: End.STOPPED if shop.stop.is_set() else _ENDS.get(lease.order),
    )
    match run.end:
        case End.LOST:
            raise Fenced(claim)
        case End.STOPPED:
            _write(shop, lambda session: execution.give_back(session, claim))
            return "given back"
        case End.CANCELLED:
            _write(shop, lambda session: execution.cancelled(session, claim, run.log))
            return "cancelled"
        case End.EXITED if run.exit_code == 0:
            return _collect(shop, claim, folder)
        case _:
            error = _why(run, settings.job_time_limit_seconds)
            final = run.end is End.EXITED and run.exit_code == _ENGINE_GAVE_UP
            return _fail(shop, claim, error, run.log, final=final)


def _collect(shop: Workshop, claim: Claim, folder: Path) -> str:
    if claim.kind == "describe":
        description = read_description(folder)
        _write(shop, lambda session: completion.describe_done(session, claim, description))
        return "described"
    with shop.database.read() as session:
        parent_id = session.get_one(Job, claim.job_id).parent_version_id
        parent = recipe_of(session, session.get_one(Version, parent_id))
    result, delta = read_result(folder, shop.weights, parent)
    storage = shop.weights.storage
    version = _write(
        shop,
        lambda session: completion.succeed(session, claim, result, storage, shop.signer, delta),
    )
    return "cancelled" if version is None else f"succeeded verdict={result.audit.verdict}"


def _fail(shop: Workshop, claim: Claim, error: str, engine_log: str | None, *, final: bool) -> str:
    state = _write(
        shop,
        lambda session: execution.fail(
            session,
            claim,
            error,
            engine_log,
            final=final,
            max_attempts=shop.settings.max_attempts,
            retry_seconds=shop.settings.retry_seconds,
        ),
    )
    return f"attempt failed, job {state}"


def _why(run: Run, limit_seconds: float) -> str:
    if run.end is End.TIMED_OUT:
        return f"the engine took longer than the limit of {limit_seconds:g} s"
    if run.failure is not None:
        return f"{run.failure.type}: {run.failure.message}"
    if run.exit_code < 0:
        return f"the engine was killed by signal {-run.exit_code}"
    return f"the engine ended with exit code {run.exit_code} and said nothing"


_Written = TypeVar("_Written")


def _write(shop: Workshop, change: Callable[[Session], _Written]) -> _Written:
    """One transaction, tried again while the database is away, for as long as the lease lasts."""
    give_up = time.monotonic() + shop.settings.lease_seconds
    while True:
        try:
            with shop.database.write() as session, session.begin():
                return change(session)
        except DBAPIError as error:
            # IntegrityError: an upload took the version number that we were about to take.
            again = error.connection_invalidated or isinstance(
                error, IntegrityError | OperationalError
            )
            if not again or time.monotonic() > give_up:
                raise
            time.sleep(0.2)


def _tell(what: str, claim: Claim, **more: str) -> None:
    told = "".join(f" {name}={value}" for name, value in more.items())
    log.info("job %s job=%s fence=%d%s", what, claim.job_id, claim.fence, told)
