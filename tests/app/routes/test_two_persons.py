"""Requests that two persons must approve, and those that a policy lets go on by themselves."""

from typing import Any

import httpx
import pytest

from app import ledger_check
from app.auth import Scope
from app.schemas.models import Policy
from app.tables import DEFAULT_TENANT
from running_service import Registered, Service, register_model

URL = "/v1/deletion-requests"


def register(service: Service, policy: Policy) -> Registered:
    with service.database.write() as session, session.begin():
        return register_model(session, service.parts.storage, policy=policy)


def post(client: httpx.Client, model: Registered, **body: Any) -> dict[str, Any]:
    response = client.post(URL, json={"model": model.name, "instances": ["i-0"], **body})
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    return found


def approve(service: Service, key: str, request: dict[str, Any]) -> httpx.Response:
    with service.client(key) as client:
        return client.post(f"{URL}/{request['id']}/approve", json={"note": "checked"})


def test_a_request_goes_on_once_two_others_have_approved_it(
    service: Service, client: httpx.Client
) -> None:
    request = post(client, register(service, Policy(approval="two_persons")))
    assert (request["approvals_needed"], request["approvals"]) == (2, [])
    first, second = (service.key(Scope.REQUESTS_APPROVE) for _ in range(2))

    waiting = approve(service, first, request)
    assert (waiting.status_code, waiting.json()["state"]) == (202, "awaiting_approval")
    assert "another person" in waiting.json()["state_reason"]
    assert waiting.headers["ETag"] == '"3"'

    again = approve(service, first, request)
    assert (again.status_code, again.json()["state"]) == (409, "awaiting_approval")
    assert again.json()["type"].endswith("/already-approved")

    queued = approve(service, second, request).json()
    assert queued["state"] == "queued"
    assert [one["note"] for one in queued["approvals"]] == ["checked", "checked"]
    assert len({one["by"] for one in queued["approvals"]}) == 2
    events = client.get(f"{URL}/{request['id']}/events").json()["items"]
    told = [e["payload"] for e in events if e["kind"] == "request.approved"]
    assert sorted(one["approvals"] for one in told) == [1, 2]
    with service.database.read() as session:
        assert ledger_check.verify(session, DEFAULT_TENANT) is None


def test_who_made_a_request_is_neither_of_its_two_approvers(
    service: Service, client: httpx.Client
) -> None:
    request = post(client, register(service, Policy(approval="two_persons")))
    own = client.post(f"{URL}/{request['id']}/approve")
    assert own.status_code == 409
    assert own.json()["type"].endswith("/own-request")


def test_one_person_denies_what_two_must_approve(service: Service, client: httpx.Client) -> None:
    request = post(client, register(service, Policy(approval="two_persons")))
    approve(service, service.key(Scope.REQUESTS_APPROVE), request)
    denied = client.post(f"{URL}/{request['id']}/deny", json={"ground": "gdpr_art_17_3_b"})
    assert denied.json()["state"] == "denied"
    assert len(denied.json()["approvals"]) == 1


@pytest.mark.parametrize(
    ("most", "asked", "state"),
    [
        ("high", "high", "queued"),
        ("normal", "normal", "queued"),
        ("normal", "high", "awaiting_approval"),
        ("low", "normal", "awaiting_approval"),
    ],
)
def test_a_request_above_the_policys_priority_is_held(
    service: Service, client: httpx.Client, most: Any, asked: str, state: str
) -> None:
    model = register(service, Policy(max_automatic_priority=most))
    body = {"model": model.name, "instances": ["i-0"], "priority": asked, "validate_only": True}
    preview = client.post(URL, json=body).json()
    request = post(client, model, priority=asked)
    assert request["state"] == state
    held = state == "awaiting_approval"
    assert (preview["needs_approval"], preview["approvals_needed"]) == (held, int(held))
    assert request["approvals_needed"] == int(held)
    if held:
        assert f"priority is {asked}" in request["state_reason"]
