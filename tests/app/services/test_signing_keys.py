"""Keys in turn: what they signed holds on, and a retired one signs nothing more."""

import httpx
import pytest

from app.db import database_now
from app.services import signing_keys
from app.signing import Signer
from app.tables import SigningKey
from carried_out import carry_out
from expunge.dsse import keys_of
from expunge.verify import verify_receipt
from running_service import Registered, Service

URL = "/v1/deletion-requests"


def _carried_out(service: Service, client: httpx.Client, model: Registered, instance: str) -> str:
    made = client.post(URL, json={"model": model.name, "instances": [instance]}).json()
    carry_out(service.parts)
    return f"{URL}/{made['id']}/receipt"


def test_receipts_of_each_key_hold_after_a_rotation(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    first = service.parts.signer.key_id
    before = _carried_out(service, client, registered, "i-0")
    file = service.parts.settings.signing_key
    assert signing_keys.rotate(service.database, file, "test")[0] == first
    after = _carried_out(service, client, registered, "i-1")
    jwks = client.get("/.well-known/jwks.json").json()
    fresh, retired = jwks["keys"]
    assert (retired["kid"], fresh["retired_at"]) == (first, None)
    assert retired["retired_at"]
    keys = keys_of(jwks)
    assert verify_receipt(client.get(before).content, keys).key_id == first
    assert verify_receipt(client.get(after).content, keys).key_id == fresh["kid"]
    assert client.get("/v1/ledger/head").json()["signature"]["keyid"] == fresh["kid"]
    events = client.get("/v1/events").json()["items"]
    (told,) = [event for event in events if event["kind"] == "signing_key.rotated"]
    assert told["payload"] == {"from": first, "to": fresh["kid"]}
    assert client.get("/v1/ledger/verify").json()["ok"]


def test_a_key_that_was_retired_elsewhere_signs_nothing(
    service: Service, client: httpx.Client
) -> None:
    signer = service.parts.signer
    with service.database.write() as session, session.begin():
        now = database_now(session)
        row = SigningKey(id=signer.key_id, public_key=signer.public_key, retired_at=now)
        session.add(row)
    refused = client.get("/v1/ledger/head")
    assert refused.status_code == 503
    assert refused.json()["type"].endswith("/signing-key-retired")
    (published,) = client.get("/.well-known/jwks.json").json()["keys"]
    assert published["kid"] == signer.key_id
    assert published["retired_at"]


def test_a_rotation_that_fails_leaves_the_key(service: Service) -> None:
    file = service.parts.settings.signing_key
    before = Signer.load_or_create(file).key_id
    with service.database.write() as session, session.begin():
        session.connection().exec_driver_sql("DELETE FROM ledger_heads")
    with pytest.raises(LookupError):
        signing_keys.rotate(service.database, file, "test")
    assert Signer.load_or_create(file).key_id == before
    assert [one.name for one in file.parent.iterdir() if "signing" in one.name] == [file.name]
