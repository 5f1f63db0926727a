"""Rollbacks and uploads that would bring back what was forgotten."""

import json
from typing import Any

import httpx

from app import ledger_check
from app.tables import DEFAULT_TENANT
from carried_out import carry_out
from running_service import Registered, Service, weights_bytes

URL = "/v1/deletion-requests"


def post(client: httpx.Client, model: Registered, *instances: str, **body: Any) -> dict[str, Any]:
    response = client.post(URL, json={"model": model.name, "instances": instances, **body})
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    return found


def seen(client: httpx.Client, request: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{URL}/{request}").json()
    return found


def move(client: httpx.Client, model: Registered, version: str, **body: Any) -> httpx.Response:
    return client.put(
        f"/v1/models/{model.name}/aliases/production",
        json={"version": version, **body},
        headers={"If-Match": "*"},
    )


def upload(client: httpx.Client, model: Registered, *lines: dict[str, Any]) -> httpx.Response:
    manifest = "".join(json.dumps(line) + "\n" for line in lines)
    files = {"weights": weights_bytes(0.25), "manifest": manifest.encode()}
    return client.post(f"/v1/models/{model.name}/versions", files=files)


def set_policy(client: httpx.Client, model: Registered, **policy: Any) -> None:
    client.patch(f"/v1/models/{model.name}", json={"policy": policy}).raise_for_status()


def check_ledger(service: Service) -> None:
    with service.database.read() as session:
        assert ledger_check.verify(session, DEFAULT_TENANT) is None


def test_a_rollback_warns_needs_a_reason_and_reopens_what_it_brings_back(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    kept = post(client, registered, "i-0")["id"]
    carry_out(service.parts)
    lost = post(client, registered, "i-1")["id"]
    carry_out(service.parts)

    warned = move(client, registered, "2")
    assert warned.status_code == 409
    assert warned.json()["type"].endswith("/would-reopen")
    assert (warned.json()["requests"], warned.json()["count"]) == ([lost], 1)
    assert client.get(f"/v1/models/{registered.name}/aliases/production").json()["revision"] == 3

    moved = move(client, registered, "2", reason="version 3 crashes")
    assert (moved.status_code, moved.json()["reopened"]) == (200, [lost])
    assert (seen(client, lost)["state"], seen(client, lost)["version"]) == ("queued", None)
    assert seen(client, kept)["state"] == "completed"
    kinds = [e["kind"] for e in client.get(f"{URL}/{lost}/events").json()["items"]]
    assert "request.reopened" in kinds

    carry_out(service.parts)
    again = seen(client, lost)
    assert again["state"] == "completed"
    versions = client.get(f"/v1/models/{registered.name}/versions").json()["items"]
    assert (versions[0]["number"], versions[0]["id"]) == (4, again["version"])
    assert versions[0]["aliases"] == ["production"]
    check_ledger(service)


def test_a_version_that_has_forgotten_as_much_needs_no_reason(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request = post(client, registered, "i-0")["id"]
    carry_out(service.parts)
    move(client, registered, "1", reason="trial").raise_for_status()
    forward = move(client, registered, "2")
    assert (forward.status_code, forward.json()["reopened"]) == (200, [])
    assert seen(client, request)["state"] == "queued"


def test_what_a_rollback_reopens_under_legal_hold_is_parked(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request = post(client, registered, "i-0")["id"]
    carry_out(service.parts)
    hold = {"instances": ["i-0"], "ground": "gdpr_art_17_3_e", "reason": "case 118"}
    client.post("/v1/legal-holds", json=hold).raise_for_status()
    move(client, registered, "1", reason="trial").raise_for_status()
    assert seen(client, request)["state"] == "on_hold"


def test_another_alias_reopens_nothing(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    post(client, registered, "i-0")
    carry_out(service.parts)
    path = f"/v1/models/{registered.name}/aliases/old"
    made = client.put(path, json={"version": "1"})
    assert (made.status_code, made.json()["reopened"]) == (200, [])


def test_an_upload_that_names_forgotten_cells_is_refused(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    post(client, registered, "i-0", tasks=["digit"])
    carry_out(service.parts)
    refused = upload(client, registered, {"id": "i-0"}, {"id": "i-1"})
    assert refused.status_code == 422
    assert refused.json()["type"].endswith("/forgotten-cells")
    assert refused.json()["cells"] == [{"instance": "i-0", "task": "digit"}]
    assert len(client.get(f"/v1/models/{registered.name}/versions").json()["items"]) == 2
    accepted = upload(client, registered, {"id": "i-0", "tasks": ["parity"]}, {"id": "i-1"})
    assert accepted.status_code == 201


def test_a_policy_takes_it_and_has_it_forgotten_anew_when_it_is_put_into_service(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    set_policy(client, registered, on_forgotten_upload="requeue")
    old = post(client, registered, "i-0", "i-1", external_id="T-1")
    carry_out(service.parts)
    lines = [{"id": f"i-{n}"} for n in range(1, 10)]
    version = upload(client, registered, *lines)
    assert version.status_code == 201, version.text

    assert move(client, registered, "3").json()["requests"] == [old["id"]]
    moved = move(client, registered, "3", reason="trained on new data")
    (request,) = moved.json()["reopened"]
    assert seen(client, old["id"])["state"] == "completed"
    again = seen(client, request)
    assert (again["state"], again["instances"]) == ("queued", ["i-1"])
    assert (again["external_id"], again["due_at"]) == ("T-1", old["due_at"])
    carry_out(service.parts)
    assert seen(client, request)["state"] == "completed"
    check_ledger(service)


def test_what_no_version_in_service_forgot_is_no_tombstone(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    post(client, registered, "i-0")
    carry_out(service.parts, "fail")
    assert upload(client, registered, {"id": "i-0"}, {"id": "i-1"}).status_code == 201
