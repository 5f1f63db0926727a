"""From empty to head and back, on both databases."""

from collections.abc import Iterator

import pytest
from sqlalchemy import inspect, select

from app import ledger, ledger_check, migrate
from app.db import Database
from app.tables import DEFAULT_TENANT, LedgerHead, Tenant


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{request.getfixturevalue('tmp_path') / 'empty.db'}"
    else:
        url = request.getfixturevalue("postgres_url")
    database = Database(url)
    yield database
    database.dispose()


def test_the_schema_goes_up_and_down_and_up_again(empty_database: Database) -> None:
    assert migrate.current(empty_database) is None
    migrate.upgrade(empty_database)
    assert migrate.current(empty_database) == migrate.head()
    assert migrate.differences(empty_database) == []
    migrate.downgrade(empty_database, "base")
    assert set(inspect(empty_database.engine).get_table_names()) == {"alembic_version"}
    assert migrate.current(empty_database) is None
    migrate.upgrade(empty_database)
    migrate.upgrade(empty_database)
    assert migrate.differences(empty_database) == []


def test_head_has_the_default_tenant_with_an_empty_ledger(database: Database) -> None:
    with database.read() as session:
        assert session.scalars(select(Tenant.name)).all() == ["default"]
        head = session.get_one(LedgerHead, DEFAULT_TENANT)
        assert (head.seq, head.hash) == (0, ledger.GENESIS)
        assert ledger_check.verify(session, DEFAULT_TENANT) is None
