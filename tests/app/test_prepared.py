"""Statements that are given to the driver as they are: the same rows, values and errors."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Float, bindparam, insert, literal, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import Database
from app.prepared import Prepared, adopted, columns
from app.tables import DEFAULT_TENANT, IdempotencyKey, Tenant

ADD = Prepared(insert(IdempotencyKey.__table__))  # type: ignore[arg-type]  # it is a Table
FIND = Prepared(
    select(IdempotencyKey.headers, IdempotencyKey.expires_at).where(
        IdempotencyKey.caller == "key_1", IdempotencyKey.key == bindparam("key")
    )
)
AT = datetime(2026, 3, 4, 9, tzinfo=UTC)


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    database = Database(database_url)
    with database.write() as session, session.begin():
        yield session
    database.dispose()


def row(key: str) -> dict[str, object]:
    return {
        "caller": "key_1",
        "key": key,
        "tenant_id": DEFAULT_TENANT,
        "fingerprint": "f" * 64,
        "status": 202,
        "headers": {"location": "/v1/é"},
        "body": "{}",
        "created_at": AT,
        "expires_at": AT,
    }


def test_values_pass_through_their_types_both_ways(session: Session) -> None:
    ADD.run(session, row("a"))
    assert [list(found) for found in FIND.rows(session, {"key": "a"})] == [
        [{"location": "/v1/é"}, AT]
    ]
    assert list(FIND.rows(session, {"key": "b"})) == []


def test_what_it_writes_is_what_the_session_reads(session: Session) -> None:
    ADD.run(session, row("a"), row("b"))
    rows = session.scalars(select(IdempotencyKey).order_by(IdempotencyKey.key)).all()
    assert [(one.key, one.headers, one.expires_at) for one in rows] == [
        ("a", {"location": "/v1/é"}, AT),
        ("b", {"location": "/v1/é"}, AT),
    ]


def test_a_row_that_was_read_becomes_the_sessions_object(session: Session) -> None:
    find = Prepared(select(*columns(Tenant)).where(Tenant.id == DEFAULT_TENANT))
    (read,) = find.rows(session, {})
    one = adopted(session, Tenant, read)
    assert session.get(Tenant, DEFAULT_TENANT) is one
    assert not session.dirty
    session.connection().execute(update(Tenant).values(name="by another way"))
    (read,) = find.rows(session, {})
    assert adopted(session, Tenant, read) is one
    assert one.name == "by another way"
    one.name = "changed"
    session.flush()
    (read,) = find.rows(session, {})
    assert "changed" in read


def test_floats_are_read_as_they_are(session: Session) -> None:
    half = Prepared(select(literal(0.5, Float())))
    assert [list(found) for found in half.rows(session, {})] == [[0.5]]


def test_it_belongs_to_the_sessions_transaction(session: Session) -> None:
    with session.begin_nested() as turn:
        ADD.run(session, row("a"))
        turn.rollback()
    assert list(FIND.rows(session, {"key": "a"})) == []


def test_the_drivers_errors_come_as_those_of_every_other_statement(session: Session) -> None:
    ADD.run(session, row("a"))
    with pytest.raises(IntegrityError), session.begin_nested():
        ADD.run(session, row("a"))
    with pytest.raises(IntegrityError), session.begin_nested():
        ADD.run(session, row("b"), row("a"))


def test_what_a_database_was_sent_and_refuses_shows_when_it_is_asked(database_url: str) -> None:
    database = Database(database_url)

    def twice(*, read: bool) -> None:
        with database.write() as session, session.begin():
            ADD.run(session, row("a"))
            ADD.run(session, row("a"))
            if read:
                session.scalars(select(IdempotencyKey)).all()

    for read in (False, True):
        with pytest.raises(IntegrityError):
            twice(read=read)
    with database.write() as session, session.begin():
        ADD.run(session, row("a"))
        assert len(FIND.rows(session, {"key": "a"})) == 1
        assert len(session.scalars(select(IdempotencyKey)).all()) == 1
    with database.read() as session:
        assert len(session.scalars(select(IdempotencyKey)).all()) == 1
    database.dispose()
