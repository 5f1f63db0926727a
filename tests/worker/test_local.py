"""The local loop as a real process with the real engine, and what may happen to both."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from app.db import database_now
from app.services.cancellation import cancel_job
from app.services.transitions import move_version
from app.states import JobState, VersionState
from app.tables import (
    DEFAULT_TENANT,
    Alias,
    Attempt,
    Job,
    Model,
    OutboxMessage,
    Version,
    Worker,
)

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def moody(world: Any, mood: str = "well", seconds: float = 0, trace: Path | None = None) -> str:
    """The id of a describe job of a model that behaves like this."""
    options = {"mood": mood, "seconds": seconds, "trace": str(trace or "")}
    return str(world.describe(world.model("moody", options)))


def state(world: Any, job: str) -> str:
    return str(world.get(Job, job).state)


def finished(world: Any, job: str) -> Any:
    return world.until(lambda: (row := world.get(Job, job)).finished_at and row)


def outcomes(world: Any, job: str) -> list[str | None]:
    query = select(Attempt.outcome).where(Attempt.job_id == job).order_by(Attempt.fence)
    return list(world.all(query))


def engine_pid(world: Any, trace: Path, number: int = 1) -> int:
    """The process id of the engine in its n-th attempt, as soon as it is there."""
    lines = world.until(
        lambda: trace.exists() and len(found := trace.read_text().split()) >= number and found
    )
    return int(lines[number - 1])


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def staged(world: Any) -> list[str]:
    return [path.name for path in (world.state_dir / "staging").glob("*")]


def test_a_model_is_described_and_the_worker_shows_what_it_has(world: Any, start: Any) -> None:
    job = world.describe(world.model("digits"))
    worker = start()
    row = finished(world, job)
    assert row.state == JobState.SUCCEEDED
    description = world.get(Model, row.model_id).description
    assert [task["name"] for task in description["tasks"]] == ["digit", "parity", "magnitude"]
    (shown,) = world.all(select(Worker))
    assert {"arrays", "digits", "moody", "scenes"} <= set(shown.workloads)
    assert "interference_aware" in shown.methods
    world.until(lambda: world.all(select(OutboxMessage.published_at))[0] is not None)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert world.all(select(Worker)) == []
    assert staged(world) == []
    assert world.ledger_problem() is None


@on_sqlite
def test_a_workload_that_raises_fails_its_job_and_no_other(world: Any, start: Any) -> None:
    bad, good = moody(world, "raise"), moody(world)
    start(max_attempts=2)
    assert finished(world, good).state == JobState.SUCCEEDED
    row = finished(world, bad)
    assert row.state == JobState.FAILED
    assert row.last_error.startswith(
        "WorkloadError: the workload's build_model raised RuntimeError: a bad day (moody.py, line "
    )
    assert outcomes(world, bad) == ["failed"]
    assert "Traceback" not in (world.all(select(Attempt.log).where(Attempt.job_id == bad))[0] or "")


@on_sqlite
def test_a_workload_that_lacks_its_files_is_tried_again(world: Any, start: Any) -> None:
    job = moody(world, "unmounted")
    start(max_attempts=2)
    assert "raised PermissionError: the share is not mounted" in finished(world, job).last_error
    assert outcomes(world, job) == ["failed"] * 2


@on_sqlite
def test_an_option_that_no_workload_knows_is_not_tried_twice(world: Any, start: Any) -> None:
    job = world.describe(world.model("digits", {"colour": "red"}))
    start()
    row = finished(world, job)
    assert "has no option 'colour'" in row.last_error
    assert outcomes(world, job) == ["failed"]


@on_sqlite
def test_a_hanging_workload_meets_the_time_limit(world: Any, start: Any, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    job = moody(world, "ignore-sigterm", trace=trace)
    start(job_time_limit_seconds=15, max_attempts=1)
    row = finished(world, job)
    assert row.last_error == "the engine took longer than the limit of 15 s"
    assert gone(engine_pid(world, trace))


@on_sqlite
def test_a_leaking_workload_meets_the_memory_limit(world: Any, start: Any) -> None:
    job = moody(world, "leak")
    start(job_memory_bytes=16 << 30, max_attempts=1)
    assert "MemoryError" in finished(world, job).last_error


@on_sqlite
def test_a_chatty_workload_does_no_harm(world: Any, start: Any) -> None:
    job = moody(world, "chatter")
    start()
    assert finished(world, job).state == JobState.SUCCEEDED


@on_sqlite
def test_a_running_job_can_be_cancelled(world: Any, start: Any, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    job = moody(world, seconds=600, trace=trace)
    start()
    pid = engine_pid(world, trace)
    with world.database.write() as session, session.begin():
        cancel_job(session, DEFAULT_TENANT, job, "somebody")
    assert finished(world, job).state == JobState.CANCELLED
    assert outcomes(world, job) == ["cancelled"]
    assert gone(pid)
    world.until(lambda: not staged(world))


@on_sqlite
def test_an_engine_that_is_killed_gets_another_attempt(
    world: Any, start: Any, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    job = moody(world, seconds=1.5, trace=trace)
    start()
    os.kill(engine_pid(world, trace), signal.SIGKILL)
    assert finished(world, job).state == JobState.SUCCEEDED
    assert outcomes(world, job) == ["failed", "succeeded"]
    (first, *_) = world.all(select(Attempt.error).where(Attempt.job_id == job))
    assert first == "the engine was killed by signal 9"


def test_another_worker_finishes_for_one_that_was_killed(
    world: Any, start: Any, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    job = moody(world, seconds=2, trace=trace)
    first = start()
    pid = engine_pid(world, trace)
    first.signal(signal.SIGKILL)
    first.wait()
    start()
    assert finished(world, job).state == JobState.SUCCEEDED
    assert outcomes(world, job) == ["lost", "succeeded"]
    assert gone(pid)
    world.until(lambda: not staged(world))
    assert world.ledger_problem() is None


def test_a_worker_frozen_past_its_lease_is_fenced_out(
    world: Any, start: Any, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    job = moody(world, seconds=4, trace=trace)
    frozen = start()
    engine_pid(world, trace)
    frozen.signal(signal.SIGSTOP)
    start()
    assert finished(world, job).state == JobState.SUCCEEDED
    frozen.signal(signal.SIGCONT)
    world.until(lambda: "job fenced out" in frozen.log.read_text())
    assert outcomes(world, job) == ["lost", "succeeded"]
    world.until(lambda: not staged(world))
    assert world.ledger_problem() is None


@on_sqlite
@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_returns_its_job_at_once(
    world: Any, start: Any, tmp_path: Path, which: signal.Signals
) -> None:
    trace = tmp_path / "trace"
    job = moody(world, seconds=600, trace=trace)
    worker = start()
    pid = engine_pid(world, trace)
    started = time.monotonic()
    worker.signal(which)
    assert worker.wait() == 0
    assert time.monotonic() - started < 5
    assert gone(pid)
    assert (state(world, job), outcomes(world, job)) == (JobState.QUEUED, ["returned"])
    assert staged(world) == []


@on_sqlite
def test_a_version_that_the_policy_keeps_no_longer_is_purged(world: Any, start: Any) -> None:
    version_id = world.version(world.model(policy={"purge_after_days": 7}))
    sha256 = world.get(Version, version_id).weights_sha256
    with world.database.write() as session, session.begin():
        version = session.get_one(Version, version_id)
        move_version(session, version, VersionState.SUPERSEDED, actor="test")
        version.retired_at = database_now(session) - timedelta(days=8)
        session.delete(session.scalars(select(Alias)).one())
    worker = start()
    world.until(lambda: world.get(Version, version_id).files_removed_at)
    assert world.get(Version, version_id).state == VersionState.PURGED
    assert not world.storage.exists(sha256)
    assert world.ledger_problem() is None
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


@on_sqlite
def test_no_log_line_of_a_worker_shows_a_stack_trace(world: Any, start: Any) -> None:
    job = moody(world, "die")
    worker = start(max_attempts=1)
    assert finished(world, job).last_error == "the engine was killed by signal 9"
    worker.signal(signal.SIGTERM)
    worker.wait()
    told = worker.log.read_text()
    assert f"job claimed job={job} fence=1" in told
    assert "Traceback" not in told
