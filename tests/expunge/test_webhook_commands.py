"""`expunge webhooks` and `client.webhooks`, against a real service."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from expunge import Client
from expunge.state import Connection, write_connection
from running_service import Service, serve
from scripted_server import Reply, Script
from up_tree import environment
from worker.webhooks import deliver


@pytest.fixture
def service(tmp_path: Path, sqlite_database_url: str) -> Iterator[Service]:
    folder = tmp_path / "state"
    settings = Settings(
        state_dir=folder, database_url=sqlite_database_url, webhook_allow_loopback=True
    )
    for running in serve(settings):
        write_connection(folder, Connection(running.base_url, running.admin_key))
        yield running


def run(service: Service, *words: str) -> subprocess.CompletedProcess[str]:
    state = service.parts.settings.state_dir
    return subprocess.run(
        (sys.executable, "-m", "expunge", "webhooks", *words),
        capture_output=True,
        text=True,
        env=environment(EXPUNGE_STATE_DIR=str(state)),
        timeout=60,
        check=False,
    )


def told(service: Service, *words: str) -> Any:
    done = run(service, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_endpoint_by_command(service: Service, script: Script) -> None:
    script.say(Reply(200))
    made = told(service, "create", script.url, "--kind", "webhook_endpoint.*")
    assert made["secret"].startswith("whsec_")
    deliver(service.database, service.parts.settings, threading.Event())
    (delivery,) = told(service, "deliveries", made["id"])
    assert delivery["state"] == "delivered"
    assert told(service, "replay", made["id"], delivery["id"])["state"] == "waiting"
    assert told(service, "replay", made["id"], "--after", "0")["cursor"] == 0
    assert told(service, "rotate-secret", made["id"])["secret"] != made["secret"]
    assert told(service, "change", made["id"], "--disable")["disabled_at"]
    assert told(service, "show", made["id"])["kinds"] == ["webhook_endpoint.*"]
    assert made["id"] in run(service, "list").stdout
    assert run(service, "remove", made["id"]).stdout == f"{made['id']} is removed\n"
    assert told(service, "list") == []
    assert run(service, "replay", made["id"]).returncode == 2
    refused = run(service, "create", "https://10.0.0.1/")
    assert refused.returncode == 1
    assert "10.0.0.1 is not a public address" in refused.stderr


def test_an_endpoint_by_client(service: Service) -> None:
    with Client(service.base_url, service.admin_key) as client:
        made = client.webhooks.create("https://8.8.8.8/", description="portal", after=0)
        assert client.webhooks.get(made.id).description == "portal"
        assert [one.id for one in client.webhooks.list()] == [made.id]
        changed = client.webhooks.change(made.id, kinds=["request.*"], enabled=False)
        assert changed.kinds == ("request.*",)
        assert list(client.webhooks.deliveries(made.id, "dead")) == []
        client.webhooks.remove(made.id)
        assert list(client.webhooks.list()) == []
