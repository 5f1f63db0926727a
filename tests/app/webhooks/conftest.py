"""A service whose webhooks may go to this machine, a receiver, and a worker's deliverer by hand."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from app.db import database_now
from app.settings import Settings
from app.tables import WebhookDelivery
from running_service import Service
from scripted_server import Reply, Script, scripted
from worker.webhooks import deliver

Endpoint = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(
        state_dir=tmp_path / "state",
        database_url=database_url,
        webhook_allow_loopback=True,
        webhook_max_attempts=3,
    )


@pytest.fixture
def receiver() -> Iterator[Script]:
    """Says 200 unless told otherwise."""
    with scripted() as running:
        running.say(Reply(200, b"thanks"))
        yield running


@pytest.fixture
def endpoint(client: httpx.Client, receiver: Script) -> Endpoint:
    """Makes an endpoint at the receiver."""

    def make(**body: Any) -> dict[str, Any]:
        answer = client.post("/v1/webhook-endpoints", json={"url": receiver.url} | body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert isinstance(made, dict)
        return made

    return make


class Deliverer:
    """One worker's webhooks, when the test says so."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def run(self) -> int:
        """How many deliveries were attempted."""
        settings = self._service.parts.settings
        return deliver(self._service.database, settings, threading.Event())

    def run_again(self) -> int:
        """The same, after the time for every next attempt has come."""
        with self._service.database.write() as session, session.begin():
            now = database_now(session)
            session.execute(update(WebhookDelivery).values(next_attempt_at=now))
        return self.run()

    def rows(self) -> list[WebhookDelivery]:
        """All deliveries, in the order of their events."""
        with self._service.database.read() as session:
            rows = select(WebhookDelivery).order_by(WebhookDelivery.event_seq)
            return list(session.scalars(rows))

    def seconds_to_next(self) -> float:
        """Until the soonest next attempt."""
        with self._service.database.read() as session:
            soonest = session.scalars(select(func.min(WebhookDelivery.next_attempt_at))).one()
            return (soonest - database_now(session)).total_seconds()


@pytest.fixture
def deliverer(service: Service) -> Deliverer:
    return Deliverer(service)
