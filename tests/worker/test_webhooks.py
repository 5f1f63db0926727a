"""Workers send webhooks beside their jobs."""

import json
from collections.abc import Iterator
from signal import SIGTERM
from typing import Any

import pytest
from sqlalchemy import select

from app import ledger
from app.db import database_now
from app.states import DeliveryState
from app.tables import DEFAULT_TENANT, WebhookDelivery, WebhookEndpoint
from scripted_server import Reply, Script, scripted


@pytest.fixture
def receiver() -> Iterator[Script]:
    with scripted() as running:
        running.say(Reply(200))
        yield running


def _endpoint(world: Any, url: str) -> None:
    with world.database.write() as session, session.begin():
        session.add(
            WebhookEndpoint(
                id="whk_1",
                tenant_id=DEFAULT_TENANT,
                url=url,
                kinds=[],
                cursor=0,
                secret=bytes(32),
                created_at=database_now(session),
            )
        )


def test_several_workers_send_each_event_once(world: Any, start: Any, receiver: Script) -> None:
    _endpoint(world, receiver.url)
    with world.database.write() as session, session.begin():
        for n in range(40):
            ledger.append(session, DEFAULT_TENANT, "test.happened", f"entity_{n}", "test")
    workers = [start(webhook_allow_loopback=True, poll_seconds=0.1) for _ in range(3)]
    waiting = select(WebhookDelivery).where(WebhookDelivery.state == DeliveryState.DELIVERED)
    world.until(lambda: len(world.all(waiting)) == 40)
    assert sorted(json.loads(seen.body)["seq"] for seen in receiver.seen) == list(range(1, 41))
    for worker in workers:
        worker.signal(SIGTERM)
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]


def test_the_relay_sends_too_and_without_leave_nothing_goes_to_this_machine(
    world: Any, start: Any, receiver: Script, redis_url: str
) -> None:
    _endpoint(world, receiver.url)
    with world.database.write() as session, session.begin():
        ledger.append(session, DEFAULT_TENANT, "test.happened", "entity", "test")
    start("relay", broker_url=redis_url, poll_seconds=0.1)
    tried = select(WebhookDelivery).where(WebhookDelivery.last_answer.is_not(None))
    (row,) = world.until(lambda: world.all(tried))
    assert row.last_answer == "not sent: it must begin with https://"
    assert receiver.seen == []
