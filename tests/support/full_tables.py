"""A row in every table that belongs to a tenant, made from the metadata alone."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, insert
from sqlalchemy.orm import Session

from app import dsr_tables  # noqa: F401 - the metadata holds its tables too
from app.tables import Base, Tenant

_PLAIN: dict[type, Any] = {
    bool: False,
    float: 0.5,
    bytes: bytes(32),
    object: {},  # JSON
    datetime: datetime(2026, 3, 4, tzinfo=UTC),
}
Row = dict[str, Any]


def owned_tables() -> list[Table]:
    """Those from which foreign keys lead to a tenant, owners first."""
    owned = {Tenant.__tablename__}
    for table in Base.metadata.sorted_tables:
        if owned & {key.column.table.name for key in table.foreign_keys}:
            owned.add(table.name)
    return [table for table in Base.metadata.sorted_tables if table.name in owned]


def fill(session: Session, number: int) -> dict[str, Row]:
    """A tenant's row in each table, by the table's name; `number` tells tenants apart."""
    rows: dict[str, Row] = {}
    for table in owned_tables():
        rows[table.name] = row_of(table, number, rows)
        session.execute(insert(table).values(rows[table.name]))
    return rows


def row_of(table: Table, number: int, owners: dict[str, Row]) -> Row:
    """A row whose foreign keys name the `owners`; what may be null is."""
    return dict(_values(table, number, owners))


def _values(table: Table, number: int, owners: dict[str, Row]) -> Iterator[tuple[str, Any]]:
    for column in table.columns:
        keys = [key.column for key in column.foreign_keys]
        kind = getattr(column.type, "impl_instance", column.type).python_type
        if column.nullable:
            continue
        if keys:
            yield column.name, owners[keys[0].table.name][keys[0].name]
        elif kind is str:
            length = getattr(column.type, "length", None) or 40
            yield column.name, f"{number}-{table.name}-{column.name}"[:length]
        elif kind is int:
            yield column.name, 1000 + number
        else:
            yield column.name, _PLAIN[kind]
