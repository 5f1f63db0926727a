"""What a transaction has told the ledger and which covered rows it has written, until it commits.

SQLAlchemy says what it flushes; what is rolled back to a savepoint is untold. `app.ledger` writes
it all down when the transaction commits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Table, event, insert, inspect
from sqlalchemy.orm import (
    ORMExecuteState,
    Session,
    SessionTransaction,
    class_mapper,
    make_transient_to_detached,
)
from sqlalchemy.orm.attributes import set_committed_value

from app.coverage import ROWS, SETS, columns_of, key_of, tenant_of
from app.prepared import Prepared
from app.tables import Base, LedgerHead

_INFO = "ledger"


@dataclass(frozen=True)
class Told:
    """An event to be written."""

    tenant_id: str
    kind: str
    entity_id: str
    actor: str
    payload: dict[str, Any]


@dataclass
class Changed:
    """A covered row that was written, and which of its columns."""

    row: Base
    columns: set[str]
    tenant_id: str | None = None
    """Of a deleted row, and of one whose owner was at hand; else looked up at the commit."""
    deleted: bool = False


@dataclass
class Pending:
    """What a transaction has told and changed so far."""

    told: list[Told] = field(default_factory=list)
    rows: dict[tuple[type[Base], str], Changed] = field(default_factory=dict)
    sets: dict[tuple[type[Base], str], Sequence[Sequence[Any]] | None] = field(default_factory=dict)
    """All members by table and owner, in their order; None where they are to be read back."""
    heads: dict[str, LedgerHead] = field(default_factory=dict)
    """The heads that this transaction has locked, by tenant."""
    written: list[Changed] = field(default_factory=list)
    """New rows that no flush wrote."""
    marks: dict[SessionTransaction, tuple[int, int]] = field(default_factory=dict)
    """How much was told, and written, when each savepoint was set."""


def pending_of(session: Session) -> Pending:
    """What the session's transaction has told and changed so far."""
    found = session.info.setdefault(_INFO, Pending())
    assert isinstance(found, Pending)
    return found


def taken(session: Session) -> Pending:
    """The same, taken out: it is about to be written."""
    found = pending_of(session)
    session.info.pop(_INFO)
    return found


def write_new(session: Session, row: Base, tenant_id: str) -> None:
    """INSERT a covered row now, by itself: what a flush does besides costs as much as all else.

    Every column that has a default must be set. The row belongs to the session from here on.
    """
    mapper = class_mapper(type(row))
    columns = mapper.columns.keys()
    values = {name: value for name in columns if (value := getattr(row, name)) is not None}
    _insert(mapper.local_table, tuple(values)).run(session, values)
    make_transient_to_detached(row)
    for name in columns:
        if name not in values:
            set_committed_value(row, name, None)
    session.add(row)
    pending_of(session).written.append(Changed(row, set(columns_of(type(row))), tenant_id))


@cache
def _insert(table: Table, columns: Sequence[str]) -> Prepared:
    return Prepared(insert(table), columns)


def note_set(
    session: Session, table: type[Base], owner: str, members: Sequence[Sequence[Any]] | None = None
) -> None:
    """Remember that an owner's set is written where the session does not notice it.

    `members` are all that it holds, in their order, for who knows and need not have them read back.
    """
    sets = pending_of(session).sets
    sets[table, owner] = None if (table, owner) in sets else members


@event.listens_for(Session, "before_flush")
def _note_rows(session: Session, *_: object) -> None:
    """Remember which columns of covered rows this flush writes."""
    for row in session.new:
        table: type[Base] = type(row)
        if table in SETS:
            note_set(session, table, getattr(row, SETS[table].column.key))
        elif table in ROWS:
            changed = _changed(session, row)
            changed.columns.update(columns_of(table))
            changed.tenant_id = _tenant_at_hand(session, row)
    for row in session.dirty:
        kind: type[Base] = type(row)
        if kind in ROWS:
            state = inspect(row)
            columns = {
                column
                for column in columns_of(kind)
                if column in state.committed_state and state.attrs[column].history.has_changes()
            }
            if columns:
                _changed(session, row).columns |= columns
    for row in session.deleted:
        if type(row) in ROWS:
            changed = _changed(session, row)
            changed.deleted, changed.tenant_id = True, tenant_of(session, row)


@event.listens_for(Session, "do_orm_execute")
def _note_bulk_insert(state: ORMExecuteState) -> None:
    """Remember whose sets a bulk INSERT writes to."""
    mapper = state.bind_mapper
    if not state.is_insert or mapper is None or mapper.class_ not in SETS:
        return
    owner = SETS[mapper.class_].column.key
    given = state.parameters or {}
    rows = [given] if isinstance(given, Mapping) else given
    for one in {row[owner] for row in rows}:
        note_set(state.session, mapper.class_, one)


@event.listens_for(Session, "after_transaction_create")
def _mark_savepoint(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        pending = pending_of(session)
        pending.marks[transaction] = len(pending.told), len(pending.written)


@event.listens_for(Session, "after_soft_rollback")
def _untell(session: Session, transaction: SessionTransaction) -> None:
    """What was told since a savepoint is untold with it."""
    pending = pending_of(session)
    pending.heads.clear()  # a lock that was taken since the savepoint is released with it
    pending.sets = dict.fromkeys(pending.sets)  # and what was written since is gone
    if transaction in pending.marks:
        told, written = pending.marks[transaction]
        del pending.told[told:], pending.written[written:]


@event.listens_for(Session, "after_transaction_end")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_INFO, None)


def _tenant_at_hand(session: Session, row: Base) -> str | None:
    """Whose row it is, where that needs no query."""
    owner = ROWS[type(row)]
    if owner is None:
        return None
    key = session.identity_key(owner.table, getattr(row, owner.column.key))
    found = session.identity_map.get(key)
    return str(found.tenant_id) if found is not None else None


def _changed(session: Session, row: Base) -> Changed:
    rows = pending_of(session).rows
    return rows.setdefault((type(row), key_of(row)), Changed(row, set()))
