"""A POST that is sent again is carried out once."""

import threading
from datetime import timedelta

import httpx
import pytest
from fastapi import Response
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.auth import Scope
from app.db import Database, database_now
from app.idempotency import Operation, RunningKeys
from app.problems import Conflict
from app.tables import DEFAULT_TENANT, IdempotencyKey, Model
from app.together import Together
from running_service import Registered, Service

needs_worker = pytest.mark.usefixtures("registered")
BODY = {"name": "m", "workload": "digits"}
KEY = {"Idempotency-Key": "first-model"}


def models(service: Service) -> int:
    with service.database.read() as session:
        return (session.scalar(select(func.count()).select_from(Model)) or 0) - 1


@needs_worker
def test_a_repetition_gets_the_first_answer(service: Service, client: httpx.Client) -> None:
    first = client.post("/v1/models", json=BODY, headers=KEY)
    again = client.post("/v1/models", json=BODY, headers=KEY)
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["content-type"] == "application/json"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert models(service) == 1


@needs_worker
def test_the_same_key_with_another_body_is_refused(client: httpx.Client) -> None:
    client.post("/v1/models", json=BODY, headers=KEY)
    other = client.post("/v1/models", json=BODY | {"name": "n"}, headers=KEY)
    assert other.status_code == 422
    assert other.json()["type"].endswith("/idempotency-key-reused")


@needs_worker
def test_a_key_belongs_to_one_caller(service: Service, client: httpx.Client) -> None:
    client.post("/v1/models", json=BODY, headers=KEY)
    with service.client(service.key(Scope.ADMIN)) as other:
        answer = other.post("/v1/models", json=BODY | {"name": "n"}, headers=KEY)
    assert answer.status_code == 201
    assert models(service) == 2


@needs_worker
def test_a_refusal_is_not_kept(service: Service, client: httpx.Client) -> None:
    unknown = {"name": "m", "workload": "absent"}
    for _ in range(2):
        refused = client.post("/v1/models", json=unknown, headers=KEY)
        assert refused.status_code == 409
        assert "idempotency-replayed" not in refused.headers
    assert client.post("/v1/models", json=BODY, headers=KEY).status_code == 201


@needs_worker
def test_a_key_is_free_again_after_a_day(service: Service, client: httpx.Client) -> None:
    client.post("/v1/models", json=BODY, headers=KEY)
    with service.database.write() as session, session.begin():
        past = database_now(session) - timedelta(seconds=1)
        session.execute(update(IdempotencyKey).values(expires_at=past))
    answer = client.post("/v1/models", json=BODY | {"name": "n"}, headers=KEY)
    assert answer.status_code == 201
    with service.database.read() as session:
        row = session.scalars(select(IdempotencyKey)).one()
        assert row.expires_at - row.created_at == timedelta(hours=24)


@needs_worker
@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "t\u00e4st"])
def test_a_key_must_be_visible_ascii(client: httpx.Client, key: str) -> None:
    answer = client.post("/v1/models", json=BODY, headers={"Idempotency-Key": key.encode()})
    assert answer.status_code == 400


@needs_worker
def test_of_many_at_once_one_is_carried_out(service: Service) -> None:
    answers: list[httpx.Response] = []

    def post() -> None:
        with service.client() as client:
            answers.append(client.post("/v1/models", json=BODY, headers=KEY))

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert models(service) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["type"].endswith("/still-running")
            assert answer.headers["retry-after"] == "1"
        else:
            assert answer.status_code == 201
    fresh = [a for a in answers if a.status_code == 201 and "idempotency-replayed" not in a.headers]
    assert len(fresh) == 1


def test_puts_and_patches_ignore_the_header(client: httpx.Client, registered: Registered) -> None:
    for name in ("a", "b"):
        answer = client.patch(f"/v1/models/{registered.model_id}", json={"name": name}, headers=KEY)
        assert answer.json()["name"] == name


def test_another_process_still_working_on_the_key_is_told(postgres_database_url: str) -> None:
    """A process knows its own running keys; between two of them stands PostgreSQL's lock.

    On SQLite the second writer waits for its turn, and then gets the first one's answer.
    """
    database = Database(postgres_database_url)
    together = Together(database)
    mine = Operation(database, RunningKeys(), together, DEFAULT_TENANT, "key_1", "k", "f" * 64)
    theirs = Operation(database, RunningKeys(), together, DEFAULT_TENANT, "key_1", "k", "f" * 64)

    def work(session: Session) -> Response:
        with pytest.raises(Conflict, match="still running"):
            theirs.run(lambda session: pytest.fail("carried out twice"))
        return Response("done", 201)

    assert mine.run(work).status_code == 201
    again = theirs.run(lambda session: pytest.fail("carried out twice"))
    assert (again.body, again.headers["idempotency-replayed"]) == (b"done", "true")
    database.dispose()
