"""Every operation of the OpenAPI document, tried without a key, without its scope, from outside.

What is tried follows from the document, so that a new route is tried too. Ids for its path are
taken from `THEIRS`; those that are not there from an answer to the example of its collection.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app import ledger
from app.auth import Scope
from app.db import Database, database_now
from app.ids import new_id
from app.main import ROUTERS
from app.states import DeliveryState
from app.tables import (
    DEFAULT_TENANT,
    Base,
    IdempotencyKey,
    LedgerHead,
    Tenant,
    WebhookDelivery,
    WebhookEndpoint,
    Worker,
)
from carried_out import carry_out
from described_api import Operation, operations
from running_service import Registered, Service, add_tenant, add_worker, register_model

PUBLIC = {
    "GET /dsr/v2/certificate",
    "GET /dsr/v2/discovery",
    "GET /.well-known/jwks.json",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
}
"""What anybody may read: nothing in it belongs to a tenant."""
ANY_KEY = {"GET /v1/whoami"}
NOT_DESCRIBED = ("/console", "/docs", "/redoc")
"""Pages for browsers: the console, whose session holds the key, and the API for people."""
_TELLING = re.compile(r"\b(?:[a-z]{3}_[0-9a-f]{32}|[0-9a-f]{64})\b|their-\w+")
_COMMON = (Tenant.__table__, LedgerHead.__table__, Worker.__table__, IdempotencyKey.__table__)


@dataclass(frozen=True)
class Theirs:
    """A tenant with a model, a request that was carried out and one that waits."""

    service: Service
    values: Mapping[str, str]
    """What their rows are called in paths, queries and bodies."""

    def client(self) -> httpx.Client:
        """Of their own administrator."""
        return self.service.client()


@pytest.fixture
def theirs(service: Service) -> Theirs:
    with service.database.write() as session, session.begin():
        add_worker(session)
        model = register_model(session, service.parts.storage, "their-model")
    with service.client() as client:
        done = _ask(client, model, "i-1")
        job = carry_out(service.parts)
        _ask(client, model, "i-2")
        key = client.get("/v1/api-keys").json()["items"][0]["id"]
        dsr = _ask_as_controller(client)
    endpoint, delivery = _add_webhook(service, DEFAULT_TENANT, "their-hook")
    return Theirs(
        service,
        {
            "model": model.name,
            "model_id": model.model_id,
            "version": model.version_id,
            "file": "weights.safetensors",
            "alias": "production",
            "key": key,
            "request_id": done,
            "job_id": job,
            "endpoint": endpoint,
            "delivery": delivery,
            "subject": "s-1",
            "dsr_request": dsr,
            "external_id": "their-ticket",
            "seq": "1",
            "from": "1",
        },
    )


def _add_webhook(service: Service, tenant_id: str, name: str) -> tuple[str, str]:
    """The ids of an endpoint and of a delivery to it."""
    with service.database.write() as session, session.begin():
        now = database_now(session)
        endpoint, delivery = new_id("whk"), new_id("dlv")
        session.add(
            WebhookEndpoint(
                id=endpoint,
                tenant_id=tenant_id,
                url=f"https://{name}.example.org/",
                kinds=[],
                cursor=0,
                secret=bytes(32),
                created_at=now,
            )
        )
        session.flush()
        session.add(
            WebhookDelivery(
                id=delivery,
                endpoint_id=endpoint,
                event_seq=1,
                kind="model.created",
                state=DeliveryState.WAITING,
                next_attempt_at=now,
                waiting_since=now,
                created_at=now,
            )
        )
    return endpoint, delivery


def _ask(client: httpx.Client, model: Registered, instance: str) -> str:
    body = {"model": model.name, "instances": [instance], "external_id": "their-ticket"}
    answer = client.post("/v1/deletion-requests", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _ask_as_controller(client: httpx.Client) -> str:
    body = {
        "subject_request_id": "5f0c1a52-5b4c-4b8e-9d6e-0d3f9b3a7c11",
        "subject_request_type": "erasure",
        "submitted_time": "2026-03-04T09:00:00Z",
        "subject_identities": [
            {"identity_type": "email", "identity_value": "s-4", "identity_format": "raw"}
        ],
    }
    answer = client.post("/dsr/v2/requests", json=body)
    assert answer.status_code == 201, answer.text
    return str(body["subject_request_id"])


@pytest.fixture
def described(theirs: Theirs) -> list[Operation]:
    return list(operations(httpx.get(f"{theirs.service.base_url}/openapi.json").json()))


def _values(operation: Operation, theirs: Theirs, described: list[Operation]) -> dict[str, str]:
    """Their ids for the operation's path; an unknown one is made by its collection's example."""
    values = dict(theirs.values)
    for name in operation.parameters("path"):
        if name not in values:
            values[name] = _made(name, operation, theirs, described)
    return values


def _made(name: str, operation: Operation, theirs: Theirs, described: list[Operation]) -> str:
    collection = operation.path.partition(f"/{{{name}}}")[0]
    for maker in described:
        if maker.path == collection and maker.verb == "post":
            with theirs.client() as client:
                body = _body(maker, theirs.values)
                answer = maker.call(client, theirs.values, body)
            assert answer.is_success, f"{maker.name} refuses its example: {answer.text}"
            return str(answer.json()["id"])
    pytest.fail(f"{operation.name}: nothing tells an id for {{{name}}}; add one to `theirs`")


def _body(operation: Operation, values: Mapping[str, str]) -> Any:
    """The operation's example, naming their rows where it names any."""
    body = operation.bodies[0]
    if not isinstance(body, dict):
        return body
    several = {"instances": ["i-3"], "subjects": ["s-1"], "tasks": ["digit"]}
    singular = {"instance": "i-1", "task": "digit"}
    known = {**several, **singular, **values}
    return {name: known.get(name, value) for name, value in body.items()}


def _texts(database: Database) -> dict[str, set[str]]:
    """Every row of every table, as text."""
    with database.read() as session:
        return {
            table.name: {repr(tuple(row)) for row in session.execute(select(table))}
            for table in Base.metadata.sorted_tables
            if table not in _COMMON
        }


def _told(answer: httpx.Response, secrets: set[str]) -> set[str]:
    """Their ids, digests and names in an answer, without those that the question held."""
    asked = f"{answer.request.url} {answer.request.read().decode(errors='replace')}"
    said = f"{answer.headers} {answer.text}"
    return secrets & set(_TELLING.findall(said)) - set(_TELLING.findall(asked))


def _outside(service: Service) -> tuple[str, dict[str, str]]:
    """The key of another tenant's administrator, and what may stand above an id in its paths."""
    with service.database.write() as session, session.begin():
        tenant = add_tenant(session, "other")
        model = register_model(session, service.parts.storage, "own", tenant_id=tenant)
    endpoint, _ = _add_webhook(service, tenant, "own-hook")
    ours = {"model": model.name, "endpoint": endpoint, "alias": "fresh"}
    return service.key(Scope.ADMIN, tenant_id=tenant), ours


def test_every_route_is_described_and_says_who_may_call(described: list[Operation]) -> None:
    told = {(operation.verb, operation.path) for operation in described}
    for route in (route for router in ROUTERS for route in router.routes):
        path, methods = getattr(route, "path_format", ""), getattr(route, "methods", ())
        if not path.startswith(NOT_DESCRIBED):
            assert {(method.lower(), path) for method in methods} <= told, path
    assert {operation.name for operation in described if operation.is_public} == PUBLIC
    keyed = {op.name for op in described if not op.is_public and not op.scopes}
    assert keyed == ANY_KEY


def test_without_a_key_in_force_no_operation_tells_or_does_anything(
    theirs: Theirs, described: list[Operation]
) -> None:
    wrong = []
    ways = {operation.name: _values(operation, theirs, described) for operation in described}
    before = _texts(theirs.service.database)
    secrets = _secrets(before)
    unknown = f"Bearer {theirs.service.admin_key[:-1]}"
    with httpx.Client(base_url=theirs.service.base_url) as client:
        for operation in described:
            for headers in ({}, {"Authorization": unknown}):
                body = _body(operation, theirs.values)
                answer = operation.call(client, ways[operation.name], body, **headers)
                expected = answer.is_success if operation.is_public else answer.status_code == 401
                if not expected or _told(answer, secrets):
                    wrong.append((operation.name, answer.status_code, answer.text))
    assert wrong == []
    assert _texts(theirs.service.database) == before


def test_without_one_of_its_scopes_every_operation_is_refused(
    theirs: Theirs, described: list[Operation]
) -> None:
    wrong = []
    ways = {operation.name: _values(operation, theirs, described) for operation in described}
    others = {
        operation.name: theirs.service.key(*sorted(set(Scope) - operation.scopes - {Scope.ADMIN}))
        for operation in described
        if operation.scopes
    }
    before = _texts(theirs.service.database)
    secrets = _secrets(before)
    with httpx.Client(base_url=theirs.service.base_url) as client:
        for operation in (operation for operation in described if operation.scopes):
            body = _body(operation, theirs.values)
            key = {"Authorization": f"Bearer {others[operation.name]}"}
            answer = operation.call(client, ways[operation.name], body, **key)
            required = None if operation.verb == "head" else set(answer.json().get("required", ()))
            if answer.status_code != 403 or required not in (None, operation.scopes):
                wrong.append((operation.name, answer.status_code, answer.text))
            elif _told(answer, secrets):
                wrong.append((operation.name, "tells", answer.text))
    assert wrong == []
    assert _texts(theirs.service.database) == before


def test_each_scope_that_an_operation_names_suffices(
    service: Service, described: list[Operation]
) -> None:
    keys = {scope: {"Authorization": f"Bearer {service.key(scope)}"} for scope in Scope}
    wrong = []
    with httpx.Client(base_url=service.base_url) as client:
        for operation in described:
            absent = dict.fromkeys(operation.parameters("path"), "absent")
            for scope in sorted(operation.scopes):
                body = operation.bodies[0]
                answer = operation.call(client, absent, body, **keys[Scope(scope)])
                if answer.status_code in (401, 403) or answer.is_server_error:
                    wrong.append((operation.name, scope, answer.status_code, answer.text))
    assert wrong == []


def test_another_tenants_rows_are_not_there_whatever_is_called(
    theirs: Theirs, described: list[Operation]
) -> None:
    wrong = []
    ways = {operation.name: _values(operation, theirs, described) for operation in described}
    before = _texts(theirs.service.database)
    secrets = _secrets(before)
    assert len(secrets) > 15
    key, ours = _outside(theirs.service)
    with theirs.service.client(key) as outside:
        for operation, values, query in _attempts(described, ways, ours):
            answer = operation.call(outside, values, _body(operation, theirs.values), query)
            if operation.parameters("path") and answer.status_code != 404:
                wrong.append((operation.name, answer.status_code, answer.text))
            if answer.is_server_error or _told(answer, secrets):
                wrong.append((operation.name, "tells", answer.text))
    assert wrong == []
    after = _texts(theirs.service.database)
    assert {name: rows - after[name] for name, rows in before.items() if rows - after[name]} == {}
    with theirs.client() as client:
        assert client.get("/v1/ledger/verify").json()["ok"]


def _attempts(
    described: list[Operation], ways: Mapping[str, dict[str, str]], ours: Mapping[str, str]
) -> Iterator[tuple[Operation, dict[str, str], dict[str, str]]]:
    """Operations with their ids: in paths, in queries, and below things that are our own."""
    for operation in described:
        values, path = ways[operation.name], operation.parameters("path")
        query = {name: values[name] for name in operation.parameters("query") if name in values}
        yield operation, values, {}
        if "model" in path:
            yield operation, values | {"model": values["model_id"]}, {}
        if query:
            yield operation, values, query
        if len(path) > 1 or (path and "version" in query):
            yield operation, {**values, **ours}, query


def _secrets(rows: Mapping[str, set[str]]) -> set[str]:
    texts = " ".join(text for texts in rows.values() for text in texts)
    return set(_TELLING.findall(texts)) - {ledger.GENESIS}
