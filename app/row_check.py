"""Every covered row and set of a tenant, read as it is and sealed anew, to be compared.

What cannot be read as a value of its column is found too: whoever writes to the database behind the
service's back need not keep to its types.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session, class_mapper

from app.coverage import MEMBERS, NAMES_SUBJECTS, ROWS, SETS, columns_of, owners_of, rows_of
from app.pseudonyms import Pseudonyms, erased_name
from app.sealing import Seal, seal_of, seal_of_members, set_seal, subjects_in
from app.tables import Base, LedgerHead

_CHUNK = 1000


class SealedNow(NamedTuple):
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
        yield from _sets_now(session, head.tenant_id, key, table, pseudonyms)


def _sets_now(
    session: Session, tenant_id: str, key: bytes, table: type[Base], pseudonyms: Pseudonyms
) -> Iterator[SealedNow]:
    """Every set of the table, read at once; from the first that cannot be read, one by one."""
    column, parent = SETS[table].column, class_mapper(SETS[table].table).columns
    columns = MEMBERS[table]
    members = select(column, *columns).join(SETS[table].table, parent["id"] == column)
    members = members.where(parent["tenant_id"] == tenant_id).order_by(column, *columns)
    last: str | None = None
    try:
        with session.connection().execute(members.execution_options(yield_per=_CHUNK)) as rows:
            for owner, some in groupby(rows, itemgetter(0)):
                seal = seal_of_members(key, table, owner, _parts(some), pseudonyms)
                yield SealedNow(table.__tablename__, owner, seal)
                last = owner
    except (ValueError, TypeError):
        left = owners_of(table, tenant_id).order_by(column)
        for owner in session.scalars(left if last is None else left.where(column > last)).all():
            yield _set_now(session, key, table, owner, pseudonyms)


def _parts(rows: Iterator[Row[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    while some := [row[1:] for row in islice(rows, _CHUNK)]:
        yield some


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
    naming = [column for column in columns if (table.__tablename__, column) in NAMES_SUBJECTS]
    found = _readable(session, table, tenant_id)
    while some := list(islice(found, _CHUNK)):
        for values, _ in some:
            for column in naming:
                pseudonyms.prepare(subjects_in(column, values.get(column)))
        for values, unreadable in some:
            row_key = "/".join([str(values[name]) for name in names])
            held = {column: values[column] for column in columns if column in values}
            subjects = [
                name
                for column in naming
                if held.get(column)
                for name in map(erased_name, subjects_in(column, held.get(column)))
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
    names = rows.selected_columns.keys()
    read = 0
    try:
        with session.connection().execute(rows.execution_options(yield_per=_CHUNK)) as found:
            for row in found:
                read += 1
                yield dict(zip(names, row, strict=True)), []
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
