"""PostgreSQL itself shows and takes no row but the caller's tenant's, whatever the service asks.

Which tables belong to a tenant follows from the metadata, so that a new one cannot be forgotten.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, create_engine, func, insert, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from app import tenancy
from app.auth import Scope
from app.db import Database
from app.routes import keys
from app.settings import Settings
from app.tables import ApiKey, Base
from full_tables import Row, fill, owned_tables, row_of
from running_service import add_tenant, serve

COMMON = {"workers", "signing_keys"}
"""Nobody's: what the installation has."""
OURS, THEIRS = 1, 2

every_owned_table = pytest.mark.parametrize("table", owned_tables(), ids=str)


def test_every_table_but_the_installations_own_belongs_to_a_tenant() -> None:
    names = {table.name for table in Base.metadata.sorted_tables}
    assert names - {table.name for table in owned_tables()} == COMMON


@pytest.fixture(scope="module")
def filled(postgres: Any, _migrated_postgres: str) -> Iterator[str]:
    """The name of a database in which two tenants have a row in every table."""
    name = postgres.create(_migrated_postgres)
    yield name
    postgres.drop(name)


@pytest.fixture(scope="module")
def two_tenants(postgres: Any, filled: str) -> Iterator[tuple[Database, dict[str, Row], str]]:
    """That database as the service's role has it, the other tenant's rows, and our id."""
    database = Database(postgres.url(filled))
    with database.write() as session, session.begin():
        ours, theirs = fill(session, OURS), fill(session, THEIRS)
    yield database, theirs, str(ours["tenants"]["id"])
    database.dispose()


Two = tuple[Database, dict[str, Row], str]


def _seen(database: Database, tenant: str, table: Table) -> Sequence[Any]:
    """Every row that a query without any filter gives."""
    outside = tenancy.enter(tenant)
    try:
        with database.read() as session:
            return session.execute(select(table)).all()
    finally:
        tenancy.leave(outside)


@every_owned_table
def test_a_query_that_forgot_its_filter_sees_our_rows_alone(two_tenants: Two, table: Table) -> None:
    database, _, us = two_tenants
    assert len(_seen(database, us, table)) == 1
    assert _seen(database, tenancy.NOBODY, table) == []
    assert _seen(database, "ten_unknown", table) == []
    assert len(_seen(database, tenancy.EVERY, table)) >= 2


@every_owned_table
def test_a_change_that_forgot_its_filter_changes_our_rows_alone(
    two_tenants: Two, table: Table
) -> None:
    database, _, us = two_tenants
    column = next(iter(table.primary_key.columns))
    outside = tenancy.enter(us)
    with database.write() as session:
        changed = session.execute(table.update().values({column: column})).rowcount  # type: ignore[attr-defined]
        session.rollback()
    tenancy.leave(outside)
    assert changed == 1


@every_owned_table
def test_nothing_can_be_written_into_another_tenants_tables(two_tenants: Two, table: Table) -> None:
    database, theirs, us = two_tenants
    row = row_of(table, 3, theirs)
    outside = tenancy.enter(us)
    with database.write() as session, pytest.raises(ProgrammingError, match="row-level security"):
        session.execute(insert(table).values(row))
    tenancy.leave(outside)


def test_a_connection_that_says_nothing_sees_nothing(two_tenants: Two) -> None:
    database, _, _ = two_tenants
    silent = create_engine(database.engine.url)
    with silent.connect() as connection:
        for table in owned_tables():
            assert connection.scalar(select(func.count()).select_from(table)) == 0
    silent.dispose()


def test_what_one_transaction_said_does_not_hold_for_the_next(two_tenants: Two) -> None:
    database, _, us = two_tenants
    outside = tenancy.enter(us)
    with database.read() as session:
        assert session.scalar(_setting()) == us
    tenancy.leave(outside)
    with database.read() as session:
        assert session.scalar(_setting()) == tenancy.EVERY


def _setting() -> Any:
    return select(func.current_setting("expunge.tenant", True))


@pytest.mark.parametrize("role", ["expunge", "expunge_owner"])
def test_neither_role_of_the_service_gets_past_the_policies(
    postgres: Any, filled: str, two_tenants: Two, role: str
) -> None:
    rights = text(
        "SELECT rolsuper OR rolbypassrls OR rolcreaterole FROM pg_roles"
        " WHERE rolname = current_user"
    )
    _, _, us = two_tenants
    database = Database(postgres.url(filled, role))
    with database.read() as session:
        assert session.scalar(rights) is False
    for table in owned_tables():
        assert len(_seen(database, us, table)) == 1, table.name
    database.dispose()


def test_the_services_role_changes_no_table(two_tenants: Two) -> None:
    database, _, _ = two_tenants
    for statement in (
        "ALTER TABLE models DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON models",
        "CREATE TABLE mine (id int)",
        "TRUNCATE ledger_events",
        "SET ROLE expunge_owner",
    ):
        with (
            database.write() as session,
            pytest.raises(ProgrammingError, match=r"permission|owner"),
        ):
            session.execute(text(statement))


def test_the_owner_dumps_the_rows_of_all_tenants_and_restores_them(
    postgres: Any, filled: str, two_tenants: Two
) -> None:
    database, _, us = two_tenants
    copy = postgres.create()
    dump = postgres.run_as_owner(
        *("pg_dump", "--enable-row-security", "--no-privileges", "--format=custom"),
        *("--dbname", filled),
        PGOPTIONS="-c expunge.tenant=*",
    )
    postgres.run_as_owner(
        *("pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--dbname", copy),
        given=dump,
    )
    restored = Database(postgres.url(copy))
    for table in owned_tables():
        rows = _seen(database, tenancy.EVERY, table)
        assert _seen(restored, tenancy.EVERY, table) == rows
        assert len(_seen(restored, us, table)) == 1
    restored.dispose()
    postgres.drop(copy)


def test_a_route_that_forgot_its_filter_shows_no_other_tenants_rows(
    postgres_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfiltered(session: Session, _tenant_id: str, limit: int, _after: str | None) -> list[Any]:
        return list(session.scalars(select(ApiKey).order_by(ApiKey.id.desc()).limit(limit)))

    monkeypatch.setattr(keys.keys, "page", unfiltered)
    settings = Settings(state_dir=tmp_path / "state", database_url=postgres_database_url)
    for service in serve(settings):
        with service.database.write() as session, session.begin():
            other = add_tenant(session, "other")
        with service.client(service.key(Scope.ADMIN, tenant_id=other)) as client:
            assert [key["name"] for key in client.get("/v1/api-keys").json()["items"]] == ["test"]
        with service.client() as client:
            assert [key["name"] for key in client.get("/v1/api-keys").json()["items"]] == ["admin"]
