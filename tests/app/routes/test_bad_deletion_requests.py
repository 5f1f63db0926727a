"""Bad input: what the caller gets, and that nothing is written."""

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.auth import Scope
from app.tables import (
    Alias,
    Base,
    DeletionRequest,
    IdempotencyKey,
    Job,
    LedgerEvent,
    OutboxMessage,
    RequestInstance,
)
from carried_out import carry_out
from running_service import TASKS, Registered, Service, register_model

URL = "/v1/deletion-requests"
WRITTEN: tuple[type[Base], ...] = (
    DeletionRequest,
    RequestInstance,
    Job,
    LedgerEvent,
    OutboxMessage,
    IdempotencyKey,
)


def rows(service: Service) -> dict[str, int]:
    with service.database.read() as session:
        return {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
            for table in WRITTEN
        }


@pytest.fixture
def model(sqlite_service: Service) -> Registered:
    with sqlite_service.database.write() as session, session.begin():
        return register_model(session, sqlite_service.parts.storage)


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    found: dict[str, Any] = response.json()
    assert response.status_code == status, found
    assert response.headers["content-type"] == "application/problem+json"
    assert found["type"] == f"https://expunge.dev/problems/{slug}", found
    assert found["status"] == status
    assert found["detail"]
    assert "Traceback" not in response.text
    return found


WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"instances": "i-0"}, "#/instances"),
    ({"instances": [1]}, "#/instances/0"),
    ({"instances": ["i-0", ""]}, "#/instances/1"),
    ({"instances": ["x" * 513]}, "#/instances/0"),
    ({"instances": [None]}, "#/instances/0"),
    ({"instances": [], "subjects": []}, "#"),
    ({"instances": None}, "#/instances"),
    ({"subjects": {"s-0": 1}}, "#/subjects"),
    ({"instances": ["i-0"], "tasks": []}, "#/tasks"),
    ({"instances": ["i-0"], "tasks": "digit"}, "#/tasks"),
    ({"instances": ["i-0"], "tasks": [7]}, "#/tasks/0"),
    ({"instances": ["i-0"], "priority": "urgent"}, "#/priority"),
    ({"instances": ["i-0"], "on_unknown": "guess"}, "#/on_unknown"),
    ({"instances": ["i-0"], "validate_only": "yes"}, "#/validate_only"),
    ({"instances": ["i-0"], "external_id": "x" * 201}, "#/external_id"),
    ({"instances": ["i-0"], "external_id": 881}, "#/external_id"),
    ({"instances": ["i-0"], "reason": ["gdpr"]}, "#/reason"),
    ({"instances": ["i-0"], "received_at": "yesterday"}, "#/received_at"),
    ({"instances": ["i-0"], "received_at": 1767225600}, "#/received_at"),
    ({"instances": ["i-0"], "received_at": "2026-03-04T09:00:00"}, "#/received_at"),
    ({"instances": ["i-0"], "received_at": "2026-02-30T09:00:00Z"}, "#/received_at"),
    ({"instances": ["i-0"], "received_at": "0001-01-01T00:00:00+01:00"}, "#/received_at"),
    ({"instances": ["i-0"], "received_at": "2999-01-01T00:00:00Z"}, "#/received_at"),
    ({"instances": ["i-0"], "due_at": "9999-12-31T23:59:59-01:00"}, "#/due_at"),
    ({"instances": ["i-0"], "due_at": "2001-01-01T00:00:00Z"}, "#/due_at"),
    ({"instances": ["i-0"], "colour": "red"}, "#/colour"),
    ({"instances": ["i-0"], "model": 7}, "#/model"),
    ({"instances": ["i-0"], "model": ""}, "#/model"),
    ({"instances": ["i-0\x00"]}, "#/instances/0"),
    ({"instances": ["i-0"], "external_id": "\ud800"}, "#/external_id"),
    ({"instances": ["i-0"], "reason": "\x00"}, "#/reason"),
]


def test_a_wrong_field_is_named_by_its_pointer(sqlite_service: Service, model: Registered) -> None:
    before = rows(sqlite_service)
    with sqlite_service.client(**{"Idempotency-Key": "k", "Content-Type": "application/json"}) as c:
        for body, pointer in WRONG_FIELDS:
            sent = json.dumps({"model": model.name, **body})
            found = problem(c.post(URL, content=sent), 422, "invalid")
            assert found["errors"][0]["pointer"] == pointer, (body, found)
    assert rows(sqlite_service) == before


def test_what_is_no_json_object_is_refused(sqlite_service: Service, model: Registered) -> None:
    before = rows(sqlite_service)
    with sqlite_service.client(**{"Content-Type": "application/json"}) as c:
        for body in (b"{", b"\xff\xfe", b'{"model": "\x01"}'):
            problem(c.post(URL, content=body), 400, "not-json")
        for body in (b"[]", b"null", b'"x"', b"7", b""):
            problem(c.post(URL, content=body), 422, "invalid")
        problem(c.post(URL, content=b"[" * 100_000), 400, "too-deep")
        large = json.dumps({"model": model.name, "instances": ["i-0" * 50] * 20_000})
        problem(c.post(URL, content=large), 413, "too-large")
        c.headers["Content-Type"] = "text/plain"
        assert c.post(URL, content=b"forget i-0").status_code == 422
    assert rows(sqlite_service) == before


def test_unknown_names_are_refused_with_those_that_exist(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    before = rows(service)
    problem(client.post(URL, json={"model": "nope", "instances": ["i-0"]}), 404, "not-found")
    body: dict[str, Any] = {"model": registered.name, "instances": ["i-0"]}
    found = problem(
        client.post(URL, json={**body, "tasks": ["digit", "colour"]}), 422, "unknown-tasks"
    )
    assert found["tasks"] == list(TASKS)
    assert found["errors"][0]["pointer"] == "#/tasks/1"
    assert "'colour'" in found["detail"]
    assert "digit, parity" in found["detail"]
    assert rows(service) == before


def test_unknown_instances_are_counted_and_up_to_twenty_are_named(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    before = rows(service)
    few = client.post(
        URL,
        json={"model": registered.name, "instances": ["i-0", "nobody"], "subjects": ["s-0", "s-x"]},
    )
    found = problem(few, 422, "unknown-instances")
    assert (found["unknown"], found["unknown_count"]) == (["nobody", "s-x"], 2)
    pointers = [error["pointer"] for error in found["errors"]]
    assert pointers == ["#/instances/1", "#/subjects/1"]
    many = [f"x-{n}" for n in range(3000)]
    found = problem(
        client.post(URL, json={"model": registered.name, "instances": ["i-0", *many]}),
        422,
        "unknown-instances",
    )
    assert (found["unknown"], found["unknown_count"]) == (many[:20], 3000)
    assert len(found["errors"]) == 20
    assert found["detail"].startswith("3000 ids are not in the manifest")
    preview = {"model": registered.name, "instances": ["nobody"], "validate_only": True}
    problem(client.post(URL, json=preview), 422, "unknown-instances")
    assert rows(service) == before


def test_a_model_without_a_version_takes_no_requests(
    sqlite_service: Service, model: Registered
) -> None:
    with sqlite_service.database.write() as session, session.begin():
        session.delete(session.get_one(Alias, (model.model_id, "production")))
    before = rows(sqlite_service)
    with sqlite_service.client() as c:
        response = c.post(URL, json={"model": model.name, "instances": ["i-0"]})
        problem(response, 409, "no-version")
    assert rows(sqlite_service) == before


def test_callers_without_the_scope_are_refused(sqlite_service: Service, model: Registered) -> None:
    body = {"model": model.name, "instances": ["i-0"]}
    with sqlite_service.client() as c:
        made = c.post(URL, json=body).json()["id"]
    before = rows(sqlite_service)
    with httpx.Client(base_url=sqlite_service.base_url) as nobody:
        for path in (URL, f"{URL}/{made}", "/v1/jobs", "/v1/events"):
            problem(nobody.get(path), 401, "unauthorized")
        problem(nobody.post(URL, json=body), 401, "unauthorized")
    reader = sqlite_service.key(Scope.VERSIONS_READ)
    with sqlite_service.client(reader) as c:
        problem(c.post(URL, json=body), 403, "missing-scope")
        problem(c.get(f"{URL}/{made}"), 403, "missing-scope")
        problem(c.get("/v1/events"), 403, "missing-scope")
    with sqlite_service.client(sqlite_service.key(Scope.REQUESTS_WRITE)) as c:
        problem(c.post(f"{URL}/{made}/approve"), 403, "missing-scope")
        problem(c.post(f"{URL}/{made}/deny", json={"ground": "x"}), 403, "missing-scope")
        extension = {"months": 1, "reason": "many"}
        problem(c.post(f"{URL}/{made}/extend", json=extension), 403, "missing-scope")
    with sqlite_service.client(sqlite_service.key(Scope.REQUESTS_APPROVE)) as c:
        problem(c.post(f"{URL}/{made}/cancel"), 403, "missing-scope")
        assert c.get(f"{URL}/{made}").status_code == 200
    assert rows(sqlite_service) == before


def test_wrong_queries_are_refused(sqlite_service: Service, model: Registered) -> None:
    with sqlite_service.client() as c:
        for query in (
            "state=waiting",
            "limit=0",
            "limit=201",
            "limit=ten",
            "after=%20",
            "after=!!!",
            "due_before=soon",
            "external_id=%00",
            "subject=a%00b",
        ):
            problem(c.get(f"{URL}?{query}"), 422, "invalid")
        problem(c.get(f"{URL}?model=nope"), 404, "not-found")
        problem(c.get(f"{URL}/req_0?wait=61"), 422, "invalid")
        problem(c.get("/v1/events?after=cmVxXzA"), 422, "invalid")
        stream = {"Accept": "text/event-stream", "Last-Event-ID": "-1"}
        problem(c.get("/v1/events", headers=stream), 422, "invalid")


def test_ids_that_no_row_has_are_not_found(service: Service, client: httpx.Client) -> None:
    for wrong in ("req_0", "x" * 3000, "%F0%9F%98%80", "..%2f..%2fetc"):
        assert client.get(f"{URL}/{wrong}").status_code == 404
        assert client.post(f"{URL}/{wrong}/cancel").status_code == 404
        assert client.get(f"/v1/jobs/{wrong}").status_code == 404
    assert client.get(f"{URL}/req%00").status_code in (404, 422)
    assert client.get("/v1/jobs/job%00").status_code in (404, 422)


def test_the_same_key_for_another_body_is_refused(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    client.headers["Idempotency-Key"] = "one"
    body = {"model": registered.name, "instances": ["i-0"]}
    assert client.post(URL, json=body).status_code == 202
    before = rows(service)
    other = client.post(URL, json={**body, "instances": ["i-1"]})
    problem(other, 422, "idempotency-key-reused")
    assert rows(service) == before


def test_verbs_that_the_state_forbids_answer_409_with_the_state(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    made = client.post(URL, json={"model": registered.name, "instances": ["i-0"]}).json()["id"]
    verbs: dict[str, dict[str, Any]] = {
        "approve": {},
        "deny": {"ground": "x"},
        "retry": {},
    }
    for verb, body in verbs.items():
        found = problem(client.post(f"{URL}/{made}/{verb}", json=body), 409, "illegal-state")
        assert found["state"] == "queued"
    carry_out(service.parts)
    before = rows(service)
    verbs |= {"cancel": {}, "extend": {"months": 1, "reason": "x"}}
    for verb, body in verbs.items():
        found = problem(client.post(f"{URL}/{made}/{verb}", json=body), 409, "illegal-state")
        assert found["state"] == "completed"
    assert rows(service) == before


def test_wrong_bodies_of_verbs_are_refused(sqlite_service: Service, model: Registered) -> None:
    with sqlite_service.client() as c:
        made = c.post(URL, json={"model": model.name, "instances": ["i-0"]}).json()["id"]
        before = rows(sqlite_service)
        for verb, body, pointer in (
            ("deny", {}, "#/ground"),
            ("deny", {"ground": ""}, "#/ground"),
            ("extend", {"months": 3, "reason": "x"}, "#/months"),
            ("extend", {"months": 0, "reason": "x"}, "#/months"),
            ("extend", {"months": "1", "reason": "x"}, "#/months"),
            ("extend", {"months": 1}, "#/reason"),
            ("approve", {"notes": "x"}, "#/notes"),
            ("cancel", {"reason": 7}, "#/reason"),
            ("retry", {"force": True}, "#/force"),
        ):
            found = problem(c.post(f"{URL}/{made}/{verb}", json=body), 422, "invalid")
            assert found["errors"][0]["pointer"] == pointer
    assert rows(sqlite_service) == before
