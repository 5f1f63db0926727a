"""A worker's row: that it lives, and which workloads and methods are installed beside it."""

import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points

from sqlalchemy.exc import DBAPIError

from app.db import Database, database_now
from app.tables import Worker


@dataclass(frozen=True)
class Presence:
    """What one worker says of itself."""

    name: str
    workloads: tuple[str, ...]
    methods: tuple[str, ...]

    @classmethod
    def here(cls) -> "Presence":
        """Of this process: a name that nobody else has, and what is installed."""
        return cls(
            name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}",
            workloads=tuple(sorted(entry_points(group="expunge.workloads").names)),
            methods=tuple(sorted(entry_points(group="expunge.methods").names)),
        )

    def show(self, database: Database) -> None:
        """Write that the worker is alive now, by the database's clock."""
        with database.write() as session, session.begin():
            now = database_now(session)
            row = session.get(Worker, self.name)
            if row is None:
                row = Worker(
                    name=self.name,
                    workloads=list(self.workloads),
                    methods=list(self.methods),
                    started_at=now,
                )
                session.add(row)
            row.seen_at = now

    def leave(self, database: Database) -> None:
        """Remove the row, so that nobody waits for this worker; without a database time does it."""
        with suppress(DBAPIError), database.write() as session, session.begin():
            row = session.get(Worker, self.name)
            if row is not None:
                session.delete(row)
