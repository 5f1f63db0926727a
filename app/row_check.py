"""Every covered row and set of a tenant, read as it is and sealed anew, to be compared.

What cannot be read as a value of its column is found too: whoever writes to the database behind the
service's back need not keep to its types.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Row, Select
from sqlalchemy.orm import Session, class_mapper

from app.coverage import NAMES_SUBJECTS, ROWS, SETS, columns_of, owners_of, rows_of
from app.pseudonyms import Pseudonyms, erased_name
from app.sealing import Seal, seal_of, set_seal, subjects_in
from app.tables import Base, LedgerHead

_CHUNK = 1000


@dataclass(frozen=True)
class SealedNow:
    """A row as it is, sealed anew."""

    table: str
    key: str
    seal: Seal
    unreadable: Sequence[str] = ()
    """Columns that hold something that is no value of their type."""
    pseudonyms: Sequence[str] = ()
    """Those that stand in the row for erased subjects."""

    @property
    def name(self) -> str:
        """`table/key`, as seals name it."""
        return f"{self.table}/{self.key}"


def sealed_now(session: Session, head: LedgerHead, *, make: bool) -> Iterator[SealedNow]:
    """Every covered row and set of the tenant, sealed as it is."""
    key = head.seal_key or b""
    pseudonyms = Pseudonyms(session, head.tenant_id, make=make)
    for table in ROWS:
        yield from _rows_now(session, head.tenant_id, key, table, pseudonyms)
    for table in SETS:
        for owner in session.scalars(owners_of(table, head.tenant_id)).all():
            yield _set_now(session, key, table, owner, pseudonyms)


def _set_now(
    session: Session, key: bytes, table: type[Base], owner: str, pseudonyms: Pseudonyms
) -> SealedNow:
    try:
        seal = set_seal(session, key, table, owner, pseudonyms)
    except (ValueError, TypeError):
        seal = {}
    return SealedNow(table.__tablename__, owner, seal)


def _rows_now(
    session: Session, tenant_id: str, key: bytes, table: type[Base], pseudonyms: Pseudonyms
) -> Iterator[SealedNow]:
    names = [column.name for column in class_mapper(table).primary_key]
    columns = columns_of(table)
    found = _readable(session, table, tenant_id)
    while some := list(islice(found, _CHUNK)):
        for values, _ in some:
            for column in columns:
                if (table.__tablename__, column) in NAMES_SUBJECTS:
                    pseudonyms.prepare(subjects_in(column, values.get(column)))
        for values, unreadable in some:
            row_key = "/".join(str(values[name]) for name in names)
            held = {column: values[column] for column in columns if column in values}
            subjects = [
                name
                for column, value in held.items()
                if (table.__tablename__, column) in NAMES_SUBJECTS
                for name in map(erased_name, subjects_in(column, value))
                if name is not None
            ]
            seal = seal_of(key, table.__tablename__, row_key, held, pseudonyms)
            yield SealedNow(table.__tablename__, row_key, seal, unreadable, subjects)


def _readable(
    session: Session, table: type[Base], tenant_id: str
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """The rows' values, and the columns whose value cannot be read as one of their type."""
    keys = [column.name for column in class_mapper(table).primary_key]
    rows = rows_of(table, tenant_id)
    rows = rows.order_by(*(rows.selected_columns[key] for key in keys))
    read = 0
    try:
        with session.execute(rows.execution_options(yield_per=_CHUNK)) as found:
            for row in found.mappings():
                read += 1
                yield dict(row), []
    except (ValueError, TypeError, LookupError):
        for key in _keys(session, rows, keys)[read:]:
            yield _piecemeal(session, rows, keys, key)


def _keys(session: Session, rows: Select[Any], keys: list[str]) -> Sequence[Row[Any]]:
    columns = [rows.selected_columns[key] for key in keys]
    return session.execute(rows.with_only_columns(*columns)).all()


def _piecemeal(
    session: Session, rows: Select[Any], keys: list[str], key: Row[Any]
) -> tuple[dict[str, Any], list[str]]:
    one = rows.where(*(rows.selected_columns[k] == v for k, v in zip(keys, key, strict=True)))
    values: dict[str, Any] = {}
    unreadable: list[str] = []
    for column in rows.selected_columns:
        try:
            values[column.name] = session.scalar(one.with_only_columns(column))
        except (ValueError, TypeError, LookupError):
            unreadable.append(column.name)
    return values, unreadable
