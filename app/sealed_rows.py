"""What the ledger last said of each row, gathered while its seals are read.

A ledger of a million events seals more rows than are to be held in memory: beyond some thousands
they lie in a database of their own, in a temporary file that SQLite removes.
"""

import sqlite3
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from app.sealing import Seal

AT_ONCE = 10_000
_TABLE = "CREATE TABLE rows (name TEXT PRIMARY KEY, columns INTEGER, digests TEXT) WITHOUT ROWID"


class SealedRows:
    """The newest digests of each row by `table/key`; a context that ends with the file."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._new: dict[str, Seal] = {}
        """What was learnt since rows were last put away."""
        self._file: sqlite3.Connection | None = None
        self._columns: dict[tuple[str, ...], int] = {}
        """Few sets of columns are sealed together: a row that is put away has its own by number."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def learn(self, name: str, seal: Seal | None) -> None:
        """Take in what an event seals of a row; None where it says that the row is gone."""
        if seal is None:
            self.take(name)
            return
        known = self._new.get(name)
        if known is not None:
            known.update(seal)
            return
        self._new[name] = seal
        if len(self._new) >= self._at_once:
            self._put_away()

    def take(self, name: str) -> Seal | None:
        """The newest digests of a row, which is then forgotten; None where there are none."""
        new = self._new.pop(name, None)
        if self._file is None:
            return new
        gone = "DELETE FROM rows WHERE name = ? RETURNING columns, digests"
        found = self._file.execute(gone, (name,)).fetchall()
        if not found:
            return new
        kept = self._read(*found[0])
        return kept if new is None else kept | new

    def left(self) -> Iterator[tuple[str, Seal]]:
        """The rows that nobody took, with their digests."""
        if self._file is None:
            yield from self._new.items()
            return
        self._put_away()
        for name, columns, digests in self._file.execute("SELECT * FROM rows ORDER BY name"):
            yield name, self._read(columns, digests)

    def _put_away(self) -> None:
        if self._file is None:
            self._file = sqlite3.connect("", isolation_level=None)
            self._file.execute("PRAGMA journal_mode = OFF")
            self._file.execute(_TABLE)
        find = "SELECT columns, digests FROM rows WHERE name = ?"
        put = "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)"
        rows: list[tuple[str, int, str]] = []
        self._file.execute("BEGIN")
        for name, seal in sorted(self._new.items()):
            found = self._file.execute(find, (name,)).fetchone() if self._columns else None
            whole = self._read(*found) | seal if found else seal
            number = self._columns.setdefault(tuple(whole), len(self._columns))
            rows.append((name, number, " ".join(whole.values())))
        self._file.executemany(put, rows)
        self._file.execute("COMMIT")
        self._new.clear()

    def _read(self, columns: int, digests: str) -> Seal:
        return dict(zip(list(self._columns)[columns], digests.split(" "), strict=True))
