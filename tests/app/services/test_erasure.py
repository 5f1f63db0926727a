"""A subject's id is taken out of every row, and the ledger holds all the same."""

import json
import re

import httpx
import pytest
from sqlalchemy import inspect, text

from app import ledger_check
from app.pseudonyms import erased, pseudonym
from app.tables import DEFAULT_TENANT
from carried_out import carry_out
from running_service import Registered, Service

URL = "/v1/deletion-requests"
ERASE = "/v1/subjects/erase"


def _problem(service: Service) -> str | None:
    with service.database.read() as session:
        return ledger_check.verify(session, DEFAULT_TENANT)


def _everything(service: Service) -> str:
    """Every value of every table, as text."""
    with service.database.read() as session:
        tables = inspect(session.get_bind()).get_table_names()
        rows = [session.execute(text(f"SELECT * FROM {table}")).all() for table in tables]
    return repr(rows)


def test_an_erased_subject_is_nowhere_and_the_ledger_holds(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    body = {"model": registered.name, "subjects": ["s-2", "nobody"], "on_unknown": "skip"}
    made = client.post(URL, json=body, headers={"Idempotency-Key": "k"}).json()
    assert _problem(service) is None
    for subject in ("s-2", "nobody"):
        early = client.post(ERASE, json={"subject": subject})
        assert early.status_code == 409
        assert early.json()["requests"] == [made["id"]]
    carry_out(service.parts)
    done = client.post(ERASE, json={"subject": "s-2"}).json()
    assert (done["instances"], done["requests"]) == (2, 1)
    assert client.post(ERASE, json={"subject": "nobody"}).json()["requests"] == 1
    kept = _everything(service)
    assert not re.search(r"[\"']s-2[\"']", kept)
    assert "nobody" not in kept
    assert "s-3" in kept
    assert _problem(service) is None
    seen = client.get(f"{URL}/{made['id']}").json()
    assert seen["subjects"][0] == f"erased:{done['pseudonym']}"
    events = client.get("/v1/events?limit=200").json()["items"]
    (told, _) = [event for event in events if event["kind"] == "subject.erased"]
    assert told["entity"] == done["pseudonym"]
    assert told["payload"] == {"instances": 2, "requests": 1}
    assert client.post(ERASE, json={"subject": "s-2"}).status_code == 404
    assert client.post(ERASE, json={"subject": f"erased:{done['pseudonym']}"}).status_code == 404
    unknown = client.post(URL, json={"model": registered.name, "subjects": ["s-2"]})
    assert unknown.status_code == 422


def test_what_was_erased_cannot_be_swapped_for_somebody_else(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    first, second = (
        client.post(ERASE, json={"subject": subject}).json()["pseudonym"]
        for subject in ("s-1", "s-2")
    )
    assert first != second
    with service.database.write() as session, session.begin():
        session.execute(
            text("UPDATE instances SET subject = :b WHERE subject = :a"),
            {"a": f"erased:{first}", "b": f"erased:{second}"},
        )
    assert str(_problem(service)).startswith("instances ver_")


def test_an_id_replaced_without_an_event_is_named(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    made = client.post(URL, json={"model": registered.name, "subjects": ["s-4"]}).json()
    carry_out(service.parts)
    with service.database.read() as session:
        key = session.execute(
            text("SELECT key FROM subject_keys WHERE subject = 's-4'")
        ).scalar_one()
    forged = json.dumps([erased(pseudonym(bytes(key), "s-4"))])
    with service.database.write() as session, session.begin():
        session.execute(text(f"UPDATE deletion_requests SET subjects = '{forged}'"))
    assert _problem(service) == (
        f"deletion_requests {made['id']}: a subject was replaced by"
        f" {forged[9:-2]}, which no event tells of"
    )


@pytest.mark.parametrize("scope", ["requests:write", "ledger:read"])
def test_only_an_admin_erases(service: Service, client: httpx.Client, scope: str) -> None:
    key = client.post("/v1/api-keys", json={"name": "k", "scopes": [scope]}).json()["key"]
    with service.client(key) as other:
        assert other.post(ERASE, json={"subject": "s-1"}).status_code == 403
