"""Whatever is changed behind the ledger's back, its check names."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from app import coverage, ledger, ledger_check
from app.db import Database
from app.http import Parts
from app.schemas.models import Policy
from app.services import planning
from app.settings import Settings
from app.tables import DEFAULT_TENANT, Base, Job, Model
from carried_out import carry_out
from running_service import Registered, Service, register_model, serve

REQUESTS = "/v1/deletion-requests"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, _migrated_sqlite: Path) -> Path:
    """A database with a request that was completed, one denied, one approved, and a legal hold."""
    folder = tmp_path_factory.mktemp("told")
    file = Path(shutil.copy(_migrated_sqlite, folder / "expunge.db"))
    settings = Settings(state_dir=folder / "state", database_url=f"sqlite:///{file}")
    for service in serve(settings):
        _tell(service)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


def _tell(service: Service) -> None:
    with service.database.write() as session, session.begin():
        model = register_model(session, service.parts.storage)
    with service.client() as client:
        body = {"model": model.name, "subjects": ["s-1"], "external_id": "T-1", "reason": "asked"}
        client.post(REQUESTS, json={**body, "instances": ["i-0", "nobody"], "on_unknown": "skip"})
        carry_out(service.parts)
        held = {"policy": {"approval": "one_person"}}
        client.patch(f"/v1/models/{model.model_id}", json=held).raise_for_status()
        made = client.post(REQUESTS, json={**body, "subjects": ["s-2"]}).json()
        client.post(f"{REQUESTS}/{made['id']}/deny", json={"ground": "legal claim"})
        waits = client.post(REQUESTS, json={"model": model.name, "instances": ["i-3"]}).json()
        client.post(f"{REQUESTS}/{waits['id']}/approve").raise_for_status()
        hold = {"subjects": ["s-4"], "ground": "gdpr_art_17_3_e", "reason": "a case"}
        client.post("/v1/legal-holds", json=hold).raise_for_status()


class Tampered(sqlite3.Connection):
    """A way to a database past the service, and the service's own."""

    database: Database


@pytest.fixture(scope="module")
def _opened(told: Path) -> Iterator[Tampered]:
    file = told.with_name("copy.db")
    opened = sqlite3.connect(file, isolation_level=None, factory=Tampered)
    with closing(opened):
        opened.database = Database(f"sqlite:///{file}")
        yield opened
        opened.database.dispose()


@pytest.fixture
def copied(told: Path, _opened: Tampered) -> Tampered:
    """A fresh copy of that database, to be tampered with."""
    with closing(sqlite3.connect(told)) as original:
        original.backup(_opened)
    _opened.execute("PRAGMA synchronous = OFF")
    return _opened


def faults(connection: Tampered) -> list[str]:
    """What the check says of the database behind a connection."""
    with connection.database.read() as session:
        return ledger_check.some_faults(session, DEFAULT_TENANT, 20)


def _columns() -> Iterator[tuple[str, str]]:
    for table in coverage.ROWS:
        for column in coverage.columns_of(table):
            yield table.__tablename__, column


def test_every_table_and_column_is_covered_or_left_out_with_a_reason() -> None:
    covered = {table.__tablename__ for table in (*coverage.ROWS, *coverage.SETS)}
    assert covered | set(coverage.LEFT_OUT_TABLES) == set(Base.metadata.tables)
    assert not covered & set(coverage.LEFT_OUT_TABLES)
    for table, column in coverage.LEFT_OUT_COLUMNS:
        assert column in Base.metadata.tables[table].columns, (table, column)
    for members, columns in coverage.MEMBERS.items():
        sealed = {column.key for column in columns} | {coverage.SETS[members].column.key}
        assert sealed == set(Base.metadata.tables[members.__tablename__].columns.keys())


def test_what_nobody_touched_holds(copied: Tampered) -> None:
    assert faults(copied) == []


@pytest.mark.parametrize(("table", "column"), list(_columns()))
def test_one_value_changed_in_any_covered_row_is_named(
    copied: Tampered, table: str, column: str
) -> None:
    keys = [key.name for key in Base.metadata.tables[table].primary_key]
    for row_id, *key in copied.execute(f"SELECT rowid, {', '.join(keys)} FROM {table}").fetchall():
        where = f"FROM {table} WHERE rowid = {row_id}"
        (before,) = copied.execute(f"SELECT {column} {where}").fetchone()
        copied.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = {row_id}", (_other(before),))
        found = faults(copied)
        told = f"{table} {'/'.join(key)}"
        moved = (table, column) in _ways_to_the_tenant()
        expected = f"{told} is missing" if moved else f"{told}: {column} was changed"
        assert any(fault.startswith(expected) for fault in found), (told, found)
        copied.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = {row_id}", (before,))
    assert faults(copied) == []


def _ways_to_the_tenant() -> set[tuple[str, str]]:
    """Columns that say whose row it is: changed, the row is somebody else's."""
    ways = {(table.__tablename__, "tenant_id") for table in coverage.ROWS}
    owned = ((table, owner) for table, owner in coverage.ROWS.items() if owner)
    return ways | {(table.__tablename__, owner.column.key) for table, owner in owned}


def _other(value: object) -> object:
    match value:
        case None:
            return "2026-01-01 00:00:00.000000"
        case int() | float():
            return value + 1000
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case str() if value[:1] in ("[", "{") and value[-1:] in ("]", "}"):
            return json.dumps([json.loads(value), "more"])
        case str() if value[4:5] == value[7:8] == "-" and value[10:11] == " ":
            return value[:-1] + str((int(value[-1]) + 1) % 10)
        case str():
            return value + "x"
    raise AssertionError(value)


@pytest.mark.parametrize("table", [t.__tablename__ for t in (*coverage.ROWS, *coverage.SETS)])
def test_a_row_dropped_or_added_is_named(copied: Tampered, table: str) -> None:
    columns = Base.metadata.tables[table].columns
    key = [column.name for column in columns if column.primary_key]
    rows = copied.execute(f"SELECT * FROM {table}").fetchall()
    assert rows
    for row in rows:
        values = dict(zip(columns.keys(), row, strict=True))
        where = " AND ".join(f"{name} = ?" for name in key)
        copied.execute(f"DELETE FROM {table} WHERE {where}", [values[name] for name in key])
        assert any(table in fault for fault in faults(copied)), values
        marks = ", ".join("?" * len(row))
        copied.execute(f"INSERT INTO {table} VALUES ({marks})", row)
    assert faults(copied) == []


def test_a_copied_row_is_named(copied: Tampered) -> None:
    columns = list(Base.metadata.tables["receipts"].columns.keys())
    others = ", ".join(name for name in columns if name != "id")
    copied.execute(
        f"INSERT INTO receipts (id, {others}) SELECT 'rcp_forged', {others} FROM receipts LIMIT 1"
    )
    assert faults(copied) == ["receipts rcp_forged was added: no event tells of it"]


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("instances", "subject"),
        ("instances", "instance_id"),
        ("instances", "digest"),
        ("instances", "tasks"),
        ("forgotten_cells", "task"),
    ],
)
def test_one_value_changed_in_a_set_is_named(copied: Tampered, table: str, column: str) -> None:
    for (row_id,) in copied.execute(f"SELECT rowid FROM {table}").fetchall():
        where = f"WHERE rowid = {row_id}"
        (before,) = copied.execute(f"SELECT {column} FROM {table} {where}").fetchone()
        copied.execute(f"UPDATE {table} SET {column} = ? {where}", (_other(before),))
        assert any(fault.startswith(f"{table} ver_") for fault in faults(copied))
        copied.execute(f"UPDATE {table} SET {column} = ? {where}", (before,))


def _events(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT max(seq) FROM ledger_events").fetchone()[0])


@pytest.mark.parametrize("column", ["kind", "entity_id", "body", "prev_hash", "hash"])
def test_one_value_changed_in_any_event_is_named(copied: Tampered, column: str) -> None:
    for seq in range(1, _events(copied) + 1):
        where = f"WHERE seq = {seq}"
        (before,) = copied.execute(f"SELECT {column} FROM ledger_events {where}").fetchone()
        copied.execute(f"UPDATE ledger_events SET {column} = ? {where}", (_other(before),))
        (fault, *_) = faults(copied)
        assert fault.startswith(f"event {seq} "), fault
        copied.execute(f"UPDATE ledger_events SET {column} = ? {where}", (before,))
    assert faults(copied) == []


def test_an_event_dropped_is_named(copied: Tampered) -> None:
    last = _events(copied)
    for seq in range(1, last + 1):
        row = copied.execute(f"SELECT * FROM ledger_events WHERE seq = {seq}").fetchone()
        copied.execute(f"DELETE FROM ledger_events WHERE seq = {seq}")
        (fault, *_) = faults(copied)
        wanted = f"event {seq} is missing" if seq < last else f"the head names event {last}"
        assert fault.startswith(wanted), fault
        copied.execute("INSERT INTO ledger_events VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    assert faults(copied) == []


def test_an_event_doubled_is_named(copied: Tampered) -> None:
    last = _events(copied)
    for seq in range(1, last + 1):
        copied.execute(
            "INSERT INTO ledger_events SELECT tenant_id, ?, kind, entity_id, body, prev_hash, hash"
            f" FROM ledger_events WHERE seq = {seq}",
            (last + 1,),
        )
        (fault, *_) = faults(copied)
        assert fault.startswith(f"event {last + 1} "), fault
        copied.execute(f"DELETE FROM ledger_events WHERE seq = {last + 1}")


def test_two_events_that_changed_places_are_named(copied: Tampered) -> None:
    swap = "UPDATE ledger_events SET seq = ? WHERE seq = ?"
    for seq in range(1, _events(copied)):
        order = [(-1, seq), (seq, seq + 1), (seq + 1, -1)]
        for step in order:
            copied.execute(swap, step)
        (fault, *_) = faults(copied)
        assert fault.startswith(f"event {seq} "), fault
        for step in order:
            copied.execute(swap, step)
    assert faults(copied) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE ledger_seals SET sealed = sealed || ' ' WHERE seq = 1", "the seal of event 1 was"),
        ("DELETE FROM ledger_seals WHERE seq = 1", "the seal of event 1 is missing"),
        (
            "INSERT INTO ledger_seals SELECT tenant_id, 99, sealed FROM ledger_seals LIMIT 1",
            "the seal of event 99 was added",
        ),
        ("UPDATE ledger_heads SET seal_key = zeroblob(32)", "the key of the seals was changed"),
        ("UPDATE ledger_heads SET seal_key = NULL", "the key of the seals was changed"),
        ("UPDATE ledger_heads SET seq = seq - 1", "the head names event"),
        ("UPDATE ledger_heads SET hash = printf('%064d', 7)", "the head names event"),
        (
            "INSERT INTO ledger_tiles SELECT id, 1, 0, zeroblob(32) FROM tenants",
            "tile 0 of level 1",
        ),
        (
            "UPDATE subject_keys SET key = zeroblob(32) WHERE subject = 's-1'",
            "instances ver_",
        ),
        ("DELETE FROM subject_keys WHERE subject = 's-2'", "instances ver_"),
    ],
)
def test_what_the_check_rests_on_is_checked_too(copied: Tampered, change: str, named: str) -> None:
    copied.execute(change)
    assert any(fault.startswith(named) for fault in faults(copied)), faults(copied)


@pytest.mark.parametrize(
    ("table", "column", "nonsense"),
    [
        ("deletion_requests", "received_at", "yesterday"),
        ("deletion_requests", "tasks", "{not json"),
        ("audits", "report", ""),
        ("models", "policy", "null"),
    ],
)
def test_what_is_no_value_of_its_column_is_named_too(
    copied: Tampered, table: str, column: str, nonsense: str
) -> None:
    copied.execute(
        f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT max(rowid) FROM {table})",
        (nonsense,),
    )
    found = faults(copied)
    assert len(found) == 1
    assert f": {column} was changed" in found[0]


@pytest.fixture
def parts(settings: Settings) -> Iterator[Parts]:
    made = Parts(settings)
    yield made
    made.database.dispose()


@pytest.fixture
def model(parts: Parts) -> Registered:
    with parts.database.write() as session, session.begin():
        return register_model(session, parts.storage)


def test_a_change_that_told_nothing_is_told_by_itself(parts: Parts, model: Registered) -> None:
    with parts.database.write() as session, session.begin():
        session.get_one(Model, model.model_id).policy = Policy(method="retrain").model_dump()
    with parts.database.read() as session:
        assert ledger_check.verify(session, DEFAULT_TENANT) is None
        kinds = session.execute(text("SELECT kind FROM ledger_events ORDER BY seq")).scalars()
        assert list(kinds) == [ledger.UNTOLD, ledger.UNTOLD]


def test_what_a_savepoint_took_back_is_neither_told_nor_sealed(
    parts: Parts, model: Registered
) -> None:
    with parts.database.write() as session, session.begin():
        ledger.append(session, DEFAULT_TENANT, "first", "x", "test")
        turn = session.begin_nested()
        ledger.append(session, DEFAULT_TENANT, "second", "x", "test")
        session.get_one(Model, model.model_id).name = "another"
        session.flush()
        turn.rollback()
        with session.begin_nested():
            ledger.append(session, DEFAULT_TENANT, "third", "x", "test")
    with parts.database.read() as session:
        assert ledger_check.verify(session, DEFAULT_TENANT) is None
        kinds = session.execute(text("SELECT kind FROM ledger_events ORDER BY seq")).scalars()
        assert list(kinds) == [ledger.UNTOLD, "first", "third"]


def test_a_transaction_that_fails_leaves_nothing_for_the_next_one(
    parts: Parts, model: Registered
) -> None:
    with parts.database.write() as session:
        ledger.append(session, DEFAULT_TENANT, "lost", "x", "test")
        session.get_one(Model, model.model_id).name = "another"
        session.flush()
        session.rollback()
        ledger.append(session, DEFAULT_TENANT, "kept", "x", "test")
        session.commit()
    with parts.database.read() as session:
        assert ledger_check.verify(session, DEFAULT_TENANT) is None
        kinds = session.execute(text("SELECT kind FROM ledger_events ORDER BY seq")).scalars()
        assert list(kinds) == [ledger.UNTOLD, "kept"]


def test_a_heartbeat_is_no_event(parts: Parts, model: Registered) -> None:
    with parts.database.write() as session, session.begin():
        job = planning.describe(session, session.get_one(Model, model.model_id), "test")
    with parts.database.write() as session, session.begin():
        moved = session.get_one(Job, job.id)
        moved.not_before += timedelta(hours=1)
        moved.progress = {"step": 1}
    with parts.database.read() as session:
        assert ledger_check.verify(session, DEFAULT_TENANT) is None
        assert session.execute(text("SELECT count(*) FROM ledger_events")).scalar() == 2


def test_a_row_that_is_gone_in_order_is_not_missed(parts: Parts, model: Registered) -> None:
    with parts.database.write() as session, session.begin():
        job_id = planning.describe(session, session.get_one(Model, model.model_id), "test").id
    with parts.database.write() as session, session.begin():
        for message in session.execute(text("DELETE FROM outbox RETURNING id")).all():
            assert message
        session.delete(session.get_one(Job, job_id))
    with parts.database.read() as session:
        assert ledger_check.verify(session, DEFAULT_TENANT) is None
