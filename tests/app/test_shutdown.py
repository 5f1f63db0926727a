"""Open streams and held answers do not keep a server from stopping."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.auth import Scope, create_key
from app.http import Parts
from app.settings import Settings
from app.shutdown import stopping
from app.tables import DEFAULT_TENANT
from running_service import register_model


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_this_process_was_not_told_to_stop() -> None:
    assert not stopping()


@pytest.mark.slow
def test_a_stream_and_a_held_answer_end_when_the_server_is_told_to_stop(
    tmp_path: Path, sqlite_database_url: str
) -> None:
    state = tmp_path / "state"
    parts = Parts(Settings(state_dir=state, database_url=sqlite_database_url))
    with parts.database.write() as session, session.begin():
        model = register_model(session, parts.storage)
        key = create_key(session, parts.hasher, DEFAULT_TENANT, "k", [Scope.ADMIN])[1]
    parts.database.dispose()
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app"]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "error"],
        env=os.environ
        | {"EXPUNGE_STATE_DIR": str(state), "EXPUNGE_DATABASE_URL": sqlite_database_url},
    )
    headers = {"Authorization": f"Bearer {key}"}
    try:
        with (
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60
            ) as client,
            ThreadPoolExecutor(1) as pool,
        ):
            _wait_for(client)
            body = {"model": model.name, "instances": ["i-0"]}
            url = client.post("/v1/deletion-requests", json=body).headers["Location"]
            held = pool.submit(client.get, url, params={"wait": 60})
            stream = {"Accept": "text/event-stream"}
            with client.stream("GET", "/v1/events", headers=stream) as response:
                lines = response.iter_lines()
                assert next(lines).startswith(": the events")
                time.sleep(0.5)
                server.send_signal(signal.SIGTERM)
                start = time.monotonic()
                for _ in lines:
                    pass  # a stream that was cut rather than ended would raise here
            assert held.result(20).json()["state"] == "queued"
            server.wait(20)
            assert time.monotonic() - start < 15
    finally:
        server.kill()
        server.wait()


def _wait_for(client: httpx.Client) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            client.get("/healthz").raise_for_status()
            return
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
