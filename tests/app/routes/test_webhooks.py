"""Webhook endpoints as their owners manage them."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from app.auth import Scope
from running_service import Service, add_tenant

URL = "/v1/webhook-endpoints"
BODY = {"url": "https://8.8.8.8/hook", "kinds": ["request.*"], "description": "portal"}


@pytest.fixture(scope="module")
def caller(shared_service: Service) -> Iterator[httpx.Client]:
    with shared_service.client() as client:
        yield client


def test_an_endpoint_is_made_shown_changed_and_removed(client: httpx.Client) -> None:
    answer = client.post(URL, json=BODY)
    assert answer.status_code == 201
    made = answer.json()
    assert made["secret"].startswith("whsec_")
    place = answer.headers["location"]
    assert place == f"{URL}/{made['id']}"
    shown = client.get(place).json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert client.get(URL).json()["items"] == [shown]
    changed = client.patch(place, json={"kinds": [], "description": None}).json()
    assert (changed["kinds"], changed["description"], changed["url"]) == ([], None, BODY["url"])
    assert client.get(f"{place}/deliveries").json() == {"items": [], "next": None}
    assert client.delete(place).status_code == 204
    assert client.get(place).status_code == 404
    told = [event["kind"] for event in client.get("/v1/events").json()["items"]]
    assert told == [f"webhook_endpoint.{what}" for what in ("created", "changed", "removed")]


def test_a_secret_is_shown_once_even_to_a_repetition(client: httpx.Client) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    made = client.post(URL, json=BODY, headers=key).json()
    again = client.post(URL, json=BODY, headers=key)
    assert (again.status_code, again.json()["endpoint"]) == (409, made["id"])
    assert "whsec_" not in again.text
    key = {"Idempotency-Key": uuid.uuid4().hex}
    rotate = f"{URL}/{made['id']}/rotate-secret"
    rotated = client.post(rotate, headers=key).json()
    again = client.post(rotate, headers=key)
    assert again.json()["type"].endswith("/secret-already-shown")
    assert rotated["secret"] != made["secret"]
    assert "whsec_" not in client.get("/v1/events").text


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/url"),
        ({"url": "http://8.8.8.8/"}, "#/url"),
        ({"url": "https://127.0.0.1/"}, "#/url"),
        ({"url": "https://localhost/"}, "#/url"),
        ({"url": "https://169.254.169.254/"}, "#/url"),
        ({"url": "https://8.8.8.8/\x00"}, "#/url"),
        ({"url": "https://" + "x" * 3000}, "#/url"),
        ({"url": "https://" + "x" * 70 + ".org/"}, "#/url"),
        (BODY | {"kinds": ["request"]}, "#/kinds/0"),
        (BODY | {"kinds": ["*"]}, "#/kinds/0"),
        (BODY | {"after": -1}, "#/after"),
        (BODY | {"after": "1"}, "#/after"),
        (BODY | {"colour": 1}, "#/colour"),
    ],
)
def test_what_cannot_be_used_is_refused_at_its_field(
    caller: httpx.Client, body: dict[str, object], pointer: str
) -> None:
    answer = caller.post(URL, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_changed_address_is_checked_too(caller: httpx.Client) -> None:
    made = caller.post(URL, json=BODY).json()
    answer = caller.patch(f"{URL}/{made['id']}", json={"url": "https://10.0.0.1/"})
    assert answer.status_code == 422
    assert "not a public address" in answer.json()["detail"]
    assert caller.get(f"{URL}/{made['id']}").json()["url"] == BODY["url"]


def test_another_tenants_endpoint_is_as_if_it_were_not_there(shared_service: Service) -> None:
    with shared_service.database.write() as session, session.begin():
        tenant = add_tenant(session, "somebody else")
    other = shared_service.key(Scope.ADMIN, tenant_id=tenant)
    with shared_service.client() as mine, shared_service.client(other) as theirs:
        place = f"{URL}/{mine.post(URL, json=BODY).json()['id']}"
        assert theirs.get(URL).json()["items"] == []
        for method, path, body in (
            ("GET", place, None),
            ("PATCH", place, {"enabled": False}),
            ("DELETE", place, None),
            ("POST", f"{place}/rotate-secret", None),
            ("POST", f"{place}/replay", {"after": 0}),
            ("GET", f"{place}/deliveries", None),
            ("GET", f"{place}/deliveries/dlv_x", None),
            ("POST", f"{place}/deliveries/dlv_x/replay", None),
        ):
            assert theirs.request(method, path, json=body).status_code == 404, (method, path)
        assert mine.get(f"{place}/deliveries/dlv_x").status_code == 404


def test_endpoints_are_the_admins(shared_service: Service) -> None:
    key = shared_service.key(Scope.LEDGER_READ, Scope.REQUESTS_WRITE)
    with shared_service.client(key) as client:
        assert client.get(URL).status_code == 403
        assert client.post(URL, json=BODY).status_code == 403
