import base64
import json
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.merkle import cells_root
from app.tables import Instance, Receipt, Version
from carried_out import carry_out
from expunge.canonical import canonical_json
from expunge.dsse import InvalidEnvelope, keys_of, open_envelope
from expunge.verify import verify_receipt
from running_service import TASKS, Registered, Service

URL = "/v1/deletion-requests"


def post(client: httpx.Client, model: Registered, **body: Any) -> str:
    made = client.post(URL, json={"model": model.name, **body})
    return str(made.json()["id"])


def statement_of(client: httpx.Client, request_id: str) -> dict[str, Any]:
    keys = keys_of(client.get("/.well-known/jwks.json").json())
    payload, _ = open_envelope(client.get(f"{URL}/{request_id}/receipt").json(), keys)
    found: dict[str, Any] = json.loads(payload)
    assert canonical_json(found) == payload
    return found


def test_a_receipt_states_what_was_done_and_verifies_with_the_published_key(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request_id = post(
        client, registered, instances=["i-0"], tasks=["digit"], external_id="TICKET-1"
    )
    other_id = post(client, registered, instances=["i-1"])
    carry_out(service.parts)
    statement = statement_of(client, request_id)
    seen = client.get(f"{URL}/{request_id}").json()
    with service.database.read() as session:
        version = session.get_one(Version, seen["version"])
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://expunge.dev/receipt/v1"
    assert statement["subject"] == [
        {
            "name": f"{registered.name}/{version.id}/weights.safetensors",
            "digest": {"sha256": version.weights_sha256},
        }
    ]
    predicate = statement["predicate"]
    request = predicate["request"]
    assert (request["id"], request["external_id"]) == (request_id, "TICKET-1")
    assert (request["scope"], request["tasks"]) == ("partial", ["digit"])
    assert (request["instance_count"], request["cells_count"]) == (1, 1)
    assert request["received_at"] == seen["received_at"]
    assert request["outcome"] == "completed"
    assert predicate["parent"]["version"] == registered.version_id
    assert predicate["version"] == {"version": version.id, "sha256": version.weights_sha256}
    assert predicate["version_state"] == "verified"
    assert (predicate["method"], predicate["seed"]) == ("interference_aware", 7)
    assert predicate["audit"]["cells"] == seen["audit"]
    assert {cell["request_id"] for cell in predicate["audit"]["cells"]} == {request_id}
    assert predicate["audit"]["verdict"] == "pass"
    assert predicate["audit"]["confidence"] == 0.95
    assert "not a proof of erasure" in predicate["statement"]
    assert statement_of(client, other_id)["predicate"]["request"]["id"] == other_id


def test_a_receipt_names_no_instance_but_commits_to_all(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request_id = post(client, registered, instances=["i-0", "i-3"], subjects=["s-1"])
    carry_out(service.parts)
    statement = statement_of(client, request_id)
    text = json.dumps(statement)
    with service.database.read() as session:
        ids = session.scalars(select(Instance.instance_id)).all()
        receipt = session.scalars(select(Receipt)).one()
    assert not [one for one in [*ids, "s-1"] if f'"{one}"' in text]
    cells = [(one, task) for one in ("i-6", "i-0", "i-3", "i-1") for task in TASKS]
    assert statement["predicate"]["request"]["cells_digest"] == cells_root(
        receipt.cells_salt, cells
    )


def test_a_failed_audit_is_stated_as_such(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request_id = post(client, registered, instances=["i-0"])
    carry_out(service.parts, "fail")
    predicate = statement_of(client, request_id)["predicate"]
    assert predicate["request"]["outcome"] == "completed_with_exceptions"
    assert predicate["version_state"] == "rejected"
    assert predicate["audit"]["verdict"] == "fail"


def test_a_receipt_is_served_byte_for_byte_with_its_etag(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request_id = post(client, registered, instances=["i-0"])
    url = f"{URL}/{request_id}/receipt"
    early = client.get(url)
    assert early.status_code == 404
    assert early.json()["type"].endswith("/no-receipt")
    assert early.json()["state"] == "queued"
    carry_out(service.parts)
    found = client.get(url)
    with service.database.read() as session:
        assert found.text == session.scalars(select(Receipt.envelope)).one()
    assert found.headers["content-type"] == "application/json"
    again = client.get(url, headers={"If-None-Match": found.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_retried_request_shows_its_newest_receipt_and_keeps_the_older(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request_id = post(client, registered, instances=["i-0"])
    carry_out(service.parts, "fail")
    client.post(f"{URL}/{request_id}/retry").raise_for_status()
    carry_out(service.parts)
    assert statement_of(client, request_id)["predicate"]["request"]["outcome"] == "completed"
    with service.database.read() as session:
        assert len(session.scalars(select(Receipt.id)).all()) == 2


def test_an_altered_receipt_does_not_verify(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request_id = post(client, registered, instances=["i-0"])
    carry_out(service.parts, "fail")
    envelope = client.get(f"{URL}/{request_id}/receipt").json()
    payload = base64.b64decode(envelope["payload"])
    assert b'"fail"' in payload
    envelope["payload"] = base64.b64encode(payload.replace(b'"fail"', b'"pass"')).decode()
    keys = keys_of(client.get("/.well-known/jwks.json").json())
    with pytest.raises(InvalidEnvelope):
        open_envelope(envelope, keys)


def test_the_offline_verifier_accepts_it_together_with_the_weights(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    request_id = post(client, registered, instances=["i-0"])
    carry_out(service.parts)
    keys = keys_of(client.get("/.well-known/jwks.json").json())
    seen = client.get(f"{URL}/{request_id}").json()
    with service.database.read() as session:
        weights = service.parts.storage.path(
            session.get_one(Version, seen["version"]).weights_sha256
        )
    receipt = client.get(f"{URL}/{request_id}/receipt").content
    verified = verify_receipt(receipt, keys, weights)
    assert verified.key_id == service.parts.signer.key_id
    assert verified.weights == f"{registered.name}/{seen['version']}/weights.safetensors"
