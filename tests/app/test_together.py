"""Writes that wait at the same moment share a transaction, and nothing else."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import Response
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app import ledger, ledger_check, tenancy
from app.db import Database, database_now
from app.idempotency import Operation, RunningKeys
from app.problems import Conflict, Invalid
from app.schemas.deletion_requests import NewDeletionRequest
from app.services import intake
from app.storage import LocalStorage
from app.tables import (
    DEFAULT_TENANT,
    DeletionRequest,
    IdempotencyKey,
    Job,
    LedgerEvent,
    LedgerSeal,
    LegalHold,
)
from app.together import Together, Work
from running_service import Registered, register_model


@pytest.fixture
def model(database: Database, tmp_path: Path) -> Registered:
    with database.write() as session, session.begin():
        found = register_model(session, LocalStorage(tmp_path))
        session.add(
            LegalHold(
                id="hld_1",
                tenant_id=DEFAULT_TENANT,
                instances=["i-1"],
                subjects=[],
                ground="a case",
                reason="a case",
                placed_by="test",
                placed_at=database_now(session),
            )
        )
    return found


def at_once(database: Database, *works: Work) -> list[Any]:
    """What becomes of works that all wait before the first of them is begun."""
    together = Together(database)

    async def all_of_them() -> list[Any]:
        written = [together.write(DEFAULT_TENANT, work) for work in works]
        return await asyncio.gather(*written, return_exceptions=True)

    return asyncio.run(all_of_them())


def tell(name: str, sessions: list[Session] | None = None) -> Work:
    """A work that tells the ledger of itself."""

    def work(session: Session) -> Response:
        if sessions is not None:
            sessions.append(session)
        ledger.append(session, DEFAULT_TENANT, "test.told", name, "test")
        return Response(name)

    return work


def told(database: Database) -> list[str]:
    with database.read() as session:
        rows = select(LedgerEvent.entity_id).where(LedgerEvent.kind == "test.told")
        return list(session.scalars(rows.order_by(LedgerEvent.seq)))


def count(database: Database, table: Any) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def receive(model: Registered, *instances: str) -> Work:
    body = NewDeletionRequest(model=model.name, instances=list(instances))
    return lambda session: Response(
        intake.receive(session, DEFAULT_TENANT, body, "test").request.state
    )


def test_who_waits_is_written_in_one_transaction_in_the_order_they_came(
    database: Database,
) -> None:
    sessions: list[Session] = []
    names = [str(number) for number in range(5)]
    answers = at_once(database, *(tell(name, sessions) for name in names))
    assert [answer.body.decode() for answer in answers] == names
    assert len({id(session) for session in sessions}) == 1
    assert told(database) == names


def test_more_than_are_taken_along_wait_for_the_next_transaction(database: Database) -> None:
    sessions: list[Session] = []
    names = [str(number) for number in range(40)]
    at_once(database, *(tell(name, sessions) for name in names))
    assert len({id(session) for session in sessions}) == 2
    assert told(database) == names


def test_one_that_is_refused_takes_nothing_from_the_others(database: Database) -> None:
    def refused(session: Session) -> Response:
        tell("refused")(session)
        raise Conflict("no", "not today")

    first, second, third = at_once(database, tell("a"), refused, tell("b"))
    assert isinstance(second, Conflict)
    assert (first.body, third.body) == (b"a", b"b")
    assert told(database) == ["a", "b"]


def test_one_that_fails_at_the_commit_takes_nothing_from_the_others(database: Database) -> None:
    def unsealed(session: Session) -> Response:
        ledger.append(session, DEFAULT_TENANT, "test.told", "bad", "test", {"no": object()})
        return Response("bad")

    first, second = at_once(database, tell("a"), unsealed)
    assert first.body == b"a"
    assert isinstance(second, TypeError)
    assert told(database) == ["a"]


def test_what_may_be_committed_already_is_not_written_once_more(database: Database) -> None:
    calls: list[str] = []

    def lost(session: Session) -> Response:
        calls.append("lost")
        raise OperationalError("COMMIT", None, OSError(), connection_invalidated=True)

    answers = at_once(database, tell("a"), lost)
    assert [type(answer) for answer in answers] == [OperationalError, OperationalError]
    assert calls == ["lost"]
    assert told(database) == []


def test_each_tenant_is_written_by_itself_and_as_itself(database: Database) -> None:
    together = Together(database)
    seen: list[tuple[str, int]] = []

    def work(session: Session) -> Response:
        seen.append((tenancy.current(), id(session)))
        return Response()

    async def caller(tenant_id: str) -> None:
        tenancy.enter(tenant_id)
        await together.write(tenant_id, work)

    async def all_of_them() -> None:
        await asyncio.gather(*(caller(one) for one in ("a", "b", "a", "b")))

    asyncio.run(all_of_them())
    assert sorted(tenant for tenant, _ in seen) == ["a", "a", "b", "b"]
    assert len(set(seen)) == 2


def test_requests_received_together_are_as_if_they_came_one_after_the_other(
    database: Database, model: Registered
) -> None:
    seals = count(database, LedgerSeal)
    works = [receive(model, "i-0"), receive(model, "i-1"), receive(model, "i-2", "i-0")]
    answers = at_once(database, *works, receive(model, "i-0"))
    states = [answer.body.decode() for answer in answers]
    assert states == ["queued", "on_hold", "queued", "queued"]
    assert count(database, LedgerSeal) == seals + 1
    assert count(database, Job) == 1
    with database.read() as session:
        (job,) = session.scalars(select(Job))
        assert job.waiting is not None
        assert (job.waiting["instances"], job.waiting["emptied"]) == (2, 2)
        assert ledger_check.verify(session, DEFAULT_TENANT) is None


def test_requests_beside_a_refused_one_are_received(database: Database, model: Registered) -> None:
    works = [receive(model, "i-0"), receive(model, "nobody"), receive(model, "i-1")]
    first, second, third = at_once(database, *works)
    assert (first.body, third.body) == (b"queued", b"on_hold")
    assert isinstance(second, Invalid)
    assert count(database, DeletionRequest) == 2
    with database.read() as session:
        assert ledger_check.verify(session, DEFAULT_TENANT) is None


def test_of_two_with_one_key_in_a_group_one_is_carried_out(
    database: Database, model: Registered
) -> None:
    together, running = Together(database), RunningKeys()

    def send(key: str, work: Callable[[Session], Response]) -> Any:
        shared = database, running, together, DEFAULT_TENANT, "key_1"
        return Operation(*shared, key, "f" * 64).run_together(work)

    async def all_of_them(keys: str) -> list[Any]:
        sent = [send(key, receive(model, "i-0")) for key in keys]
        return await asyncio.gather(*sent, return_exceptions=True)

    first, second, other = asyncio.run(all_of_them("aab"))
    assert isinstance(second, Conflict)
    assert (first.body, other.body) == (b"queued", b"queued")
    again, fresh = asyncio.run(all_of_them("ac"))
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in fresh.headers
    assert count(database, DeletionRequest) == count(database, IdempotencyKey) == 3
