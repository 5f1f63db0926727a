"""The service as its callers meet it: over HTTP, on a real port, with real files and a database."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

from app.auth import Scope, create_key
from app.db import Database
from app.http import Parts
from app.main import create_app
from app.settings import Settings
from app.tables import DEFAULT_TENANT


@dataclass(frozen=True)
class Service:
    """A running service."""

    base_url: str
    admin_key: str
    database: Database
    parts: Parts

    def client(self, key: str | None = None, **headers: str) -> httpx.Client:
        """An HTTP client that calls with this key, or with the admin's."""
        headers["Authorization"] = f"Bearer {key or self.admin_key}"
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=60)

    def key(self, *scopes: Scope, tenant_id: str = DEFAULT_TENANT) -> str:
        """A fresh API key with these scopes."""
        with self.database.write() as session, session.begin():
            return create_key(session, self.parts.hasher, tenant_id, "test", list(scopes))[1]


def _serve(settings: Settings) -> Iterator[Service]:
    app = create_app(settings)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.005)
    parts = app.state.parts
    with parts.database.write() as session, session.begin():
        key = create_key(session, parts.hasher, DEFAULT_TENANT, "admin", [Scope.ADMIN])[1]
    yield Service(f"http://127.0.0.1:{listener.getsockname()[1]}", key, parts.database, parts)
    server.should_exit = True
    thread.join(20)
    listener.close()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """The settings of this test's service, once with SQLite and once with PostgreSQL."""
    return Settings(state_dir=tmp_path / "state", database_url=database_url)


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    """A service of this test alone, once with SQLite and once with PostgreSQL."""
    yield from _serve(settings)


@pytest.fixture
def sqlite_service(tmp_path: Path, sqlite_database_url: str) -> Iterator[Service]:
    """A service of this test alone, for what cannot depend on the database."""
    yield from _serve(Settings(state_dir=tmp_path / "state", database_url=sqlite_database_url))


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """A client with the admin's key."""
    with service.client() as client:
        yield client
