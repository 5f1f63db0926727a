"""Engine and sessions; the two databases' differences end here.

SQLite runs in WAL mode. A session that will write begins with BEGIN IMMEDIATE, so that it waits for
its turn at once: a read that later turns into a write would fail with SQLITE_BUSY, no matter how
long it waited. On PostgreSQL each transaction begins by saying whose rows it may touch.
"""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    DateTime,
    Dialect,
    Engine,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

from app import tenancy
from app.prepared import give_up_writes, wait_for_writes

_BEGIN = "expunge_begin"
_CLOCK = "expunge_clock"
_TURN = "expunge_turn"
_LONGEST_TURN = 30
"""Seconds that a writer waits for the others of its process, or SQLite for those of others."""


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in UTC on both databases; SQLite itself keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """UTC on the way in; a naive datetime is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: give it a time zone")
        value = value.astimezone(UTC)
        return value if dialect.name != "sqlite" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware on the way out."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Database:
    """One engine with its two kinds of session."""

    def __init__(self, url: str) -> None:
        self.engine = _make_engine(url)
        self._read = sessionmaker(self.engine, expire_on_commit=False)
        writer = self.engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._write = sessionmaker(writer, expire_on_commit=False)

    def read(self) -> Session:
        """A session that only reads; use as a context manager."""
        return self._read()

    def write(self) -> Session:
        """A session that will write: `with database.write() as session, session.begin():`."""
        return self._write()

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def database_now(session: Session) -> datetime:
    """The database's clock, so that leases do not depend on two hosts agreeing on the time.

    PostgreSQL tells it when a transaction begins; what passes from then on is measured here.
    SQLite has no clock but this machine's.
    """
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    told, at = session.connection().info[_CLOCK]
    assert isinstance(told, datetime)
    return told + timedelta(seconds=time.monotonic() - at)


def _make_engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        engine = create_engine(url, pool_pre_ping=True)
        event.listen(engine, "begin", _begin_postgresql)
        event.listen(engine, "before_cursor_execute", _wait)
        event.listen(engine, "commit", wait_for_writes)
        event.listen(engine, "rollback", give_up_writes)
        return engine
    path = make_url(url).database
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    turns = _Turns()
    event.listen(engine, "begin", turns.begin)
    event.listen(engine, "checkin", turns.end)
    return engine


def _wait(connection: Connection, *_: object) -> None:
    wait_for_writes(connection)


def _begin_postgresql(connection: Connection) -> None:
    # The tenant until the transaction ends; and the time, as both cost one way there and back.
    tell = "SELECT set_config('expunge.tenant', %s, true), clock_timestamp()"
    _, now = connection.exec_driver_sql(tell, (tenancy.current(),)).one()
    connection.info[_CLOCK] = now.astimezone(UTC), time.monotonic()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin by itself
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "busy_timeout=30000",
        "foreign_keys=ON",
        "synchronous=NORMAL",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class _Turns:
    """Lets the threads of a process write one after the other.

    SQLite itself has a writer that must wait look again after ever longer sleeps.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def begin(self, connection: Connection) -> None:
        """Begin a transaction; one that will write waits for its turn."""
        statement = str(connection.get_execution_options().get(_BEGIN, "BEGIN"))
        if statement != "BEGIN" and not connection.info.get(_TURN):
            # Whoever waited for too long is refused by SQLite, with its own error.
            connection.info[_TURN] = self._lock.acquire(timeout=_LONGEST_TURN)
        connection.exec_driver_sql(statement)

    def end(self, _connection: object, record: ConnectionPoolEntry) -> None:
        """Let the next one write, once a connection is given back."""
        if record.info.pop(_TURN, False):
            self._lock.release()
