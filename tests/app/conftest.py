"""The service as its callers meet it: over HTTP, on a real port, with real files and a database."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Settings
from running_service import Registered, Service, add_worker, register_model, serve


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """The settings of this test's service, once with SQLite and once with PostgreSQL."""
    return Settings(state_dir=tmp_path / "state", database_url=database_url)


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    """A service of this test alone, once with SQLite and once with PostgreSQL."""
    yield from serve(settings)


@pytest.fixture
def sqlite_service(tmp_path: Path, sqlite_database_url: str) -> Iterator[Service]:
    """A service of this test alone, for what cannot depend on the database."""
    yield from serve(Settings(state_dir=tmp_path / "state", database_url=sqlite_database_url))


@pytest.fixture(scope="module")
def shared_service(
    tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite: Path
) -> Iterator[Service]:
    """A service of a whole test module, for tests that leave nothing behind that others see."""
    folder = tmp_path_factory.mktemp("shared")
    file = shutil.copy(_migrated_sqlite, folder / "expunge.db")
    yield from serve(Settings(state_dir=folder / "state", database_url=f"sqlite:///{file}"))


@pytest.fixture(scope="module")
def shared_postgres_service(
    tmp_path_factory: pytest.TempPathFactory, postgres: Any, _migrated_postgres: str
) -> Iterator[Service]:
    """The same with PostgreSQL."""
    name = postgres.create(_migrated_postgres)
    state = tmp_path_factory.mktemp("shared-postgres") / "state"
    yield from serve(Settings(state_dir=state, database_url=postgres.url(name)))
    postgres.drop(name)


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """A client with the admin's key."""
    with service.client() as client:
        yield client


@pytest.fixture
def registered(service: Service) -> Registered:
    """The service has a live worker and a model with version 1 in service."""
    with service.database.write() as session, session.begin():
        add_worker(session)
        return register_model(session, service.parts.storage)
