"""Webhook secrets in the database, sealed with keys that are not in it."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from app.settings import Settings
from app.tables import WebhookEndpoint
from app.webhooks import sealed_rows
from app.webhooks.secret_box import KeyFault, SecretBox, SecretUnreadable, fault_of
from expunge.webhooks import verify
from running_service import Service
from scripted_server import Script


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A file with one key."""
    return write_keys(tmp_path / "webhook-keys", Fernet.generate_key())


@pytest.fixture
def settings(settings: Settings, key_file: Path) -> Settings:
    return settings.model_copy(update={"webhook_key_file": key_file})


def write_keys(file: Path, *keys: bytes) -> Path:
    file.write_bytes(b"\n".join(keys) + b"\n")
    return file


def stored(service: Service) -> list[bytes]:
    """Every secret as the database has it."""
    with service.database.read() as session:
        rows = session.scalars(select(WebhookEndpoint)).all()
        return [one for row in rows for one in (row.secret, row.former_secret) if one]


def test_a_delivery_is_signed_with_a_secret_that_the_database_does_not_show(
    service: Service, client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    made = endpoint()
    url = f"/v1/webhook-endpoints/{made['id']}/rotate-secret"
    rotated = client.post(url).raise_for_status().json()
    deliverer.run()
    for secret in (made["secret"], rotated["secret"]):
        verify(secret, receiver.seen[-1].headers, receiver.seen[-1].body)
    assert len(stored(service)) == 2
    assert all(one.startswith(b"gAAAA") for one in stored(service))


def test_secrets_from_before_are_read_as_they_are_and_sealed_on_demand(
    service: Service, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    made = endpoint()
    box = SecretBox.load(service.parts.settings)
    with service.database.write() as session, session.begin():
        row = session.scalars(select(WebhookEndpoint)).one()
        row.secret = box.open(row.secret)
    with service.database.read() as session:
        assert sealed_rows.outdated(session, box) == 1
    deliverer.run()
    verify(made["secret"], receiver.seen[0].headers, receiver.seen[0].body)
    assert sealed_rows.seal_all(service.database, box) == 1
    assert sealed_rows.seal_all(service.database, box) == 0
    assert box.is_sealed_by_first(stored(service)[0])


def test_a_key_is_replaced_without_a_delivery_lost(
    service: Service, client: httpx.Client, endpoint: Any, deliverer: Any, key_file: Path
) -> None:
    endpoint()
    old, new = key_file.read_bytes().strip(), Fernet.generate_key()
    write_keys(key_file, new, old)
    assert deliverer.run() == 1
    assert sealed_rows.seal_all(service.database, SecretBox.load(service.parts.settings)) == 1
    write_keys(key_file, new)
    client.post("/v1/api-keys", json={"name": "a", "scopes": ["ledger:read"]}).raise_for_status()
    assert deliverer.run() == 1
    assert {row.state for row in deliverer.rows()} == {"delivered"}


def test_nothing_is_sent_unsigned_where_the_key_is_gone(
    service: Service, endpoint: Any, receiver: Script, deliverer: Any, key_file: Path
) -> None:
    made = endpoint()
    write_keys(key_file, Fernet.generate_key())
    assert deliverer.run() == 0
    (row,) = deliverer.rows()
    assert (row.state, row.attempts, receiver.seen) == ("waiting", 1, [])
    assert "a key that EXPUNGE_WEBHOOK_KEY_FILE lacks" in str(row.last_answer)
    box = SecretBox.load(service.parts.settings)
    with service.database.read() as session:
        (fault,) = sealed_rows.unreadable(session, box)
    assert made["id"] in fault
    with pytest.raises(SecretUnreadable):
        sealed_rows.seal_all(service.database, box)


def test_a_key_file_that_cannot_be_used_is_told_and_deliveries_wait(
    service: Service, client: httpx.Client, endpoint: Any, deliverer: Any, key_file: Path
) -> None:
    endpoint()
    key_file.write_text("nonsense")
    assert deliverer.run() == 0
    assert deliverer.rows()[0].attempts == 0
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "holds no Fernet keys" in ready.json()["checks"]["webhook_secrets"]
    assert ready.json()["notes"] == []
    refused = client.post("/v1/webhook-endpoints", json={"url": "https://hooks.example.org/"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        (b"", "holds no Fernet keys"),
        (b"\xff\xfe", "holds no Fernet keys"),
        (base64.urlsafe_b64encode(bytes(32)) + b"\nshort", "holds no Fernet keys"),
    ],
)
def test_a_fault_of_the_key_file_is_one_sentence(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    settings = Settings(webhook_key_file=file)
    assert told in str(fault_of(settings))
    with pytest.raises(KeyFault, match=told):
        SecretBox.load(settings)
