"""The ledger's head and check over HTTP."""

import base64

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import update

from app.tables import LedgerEvent
from expunge.canonical import canonical_json
from running_service import Service


def test_the_head_is_signed_by_a_published_key(service: Service, client: httpx.Client) -> None:
    client.post("/v1/api-keys", json={"name": "a", "scopes": ["admin"]})
    head = client.get("/v1/ledger/head").json()
    assert (head["tenant"], head["seq"]) == ("ten_default", 1)
    signature = head.pop("signature")
    keys = httpx.get(f"{service.base_url}/.well-known/jwks.json").json()["keys"]
    key = next(key for key in keys if key["kid"] == signature["keyid"])
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
    public.verify(base64.b64decode(signature["sig"]), canonical_json(head))


def test_a_changed_event_is_found(service: Service, client: httpx.Client) -> None:
    for name in ("a", "b", "c"):
        client.post("/v1/api-keys", json={"name": name, "scopes": ["admin"]})
    assert client.get("/v1/ledger/verify").json() == {"ok": True, "events": 3, "problem": None}
    with service.database.write() as session, session.begin():
        changed = LedgerEvent.body.op("||")(" ")
        session.execute(update(LedgerEvent).where(LedgerEvent.seq == 2).values(body=changed))
    found = client.get("/v1/ledger/verify").json()
    assert found["ok"] is False
    assert "event 2 was changed" in found["problem"]
