"""Aliases moved by people, over HTTP."""

import json

import httpx
import pytest
from sqlalchemy import select

from app.db import database_now
from app.ids import new_id
from app.states import VersionState
from app.tables import LedgerEvent, Version
from running_service import Registered, Service


def add_version(service: Service, registered: Registered, state: VersionState) -> str:
    with service.database.write() as session, session.begin():
        first = session.get_one(Version, registered.version_id)
        version = Version(
            id=new_id("ver"),
            tenant_id=first.tenant_id,
            model_id=first.model_id,
            number=2,
            parent_id=first.id,
            root_id=first.id,
            state=state,
            weights_sha256=first.weights_sha256,
            weights_size=first.weights_size,
            method="retrain",
            created_at=database_now(session),
        )
        session.add(version)
    return version.id


def path(registered: Registered, alias: str = "production") -> str:
    return f"/v1/models/{registered.name}/aliases/{alias}"


def states(client: httpx.Client, registered: Registered) -> dict[int, str]:
    items = client.get(f"/v1/models/{registered.name}/versions").json()["items"]
    return {item["number"]: item["state"] for item in items}


def test_a_person_decides_and_rolls_back(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    second = add_version(service, registered, VersionState.STAGED)
    seen = client.get(path(registered))
    assert seen.json() == {
        "name": "production",
        "version": registered.version_id,
        "revision": 1,
        "reopened": [],
    }
    body = {"version": second, "reason": "looked at the audit"}
    moved = client.put(path(registered), json=body, headers={"If-Match": seen.headers["etag"]})
    assert moved.status_code == 200, moved.text
    assert (moved.json()["version"], moved.json()["revision"]) == (second, 2)
    assert states(client, registered) == {1: "superseded", 2: "verified"}
    same = client.put(path(registered), json=body, headers={"If-Match": '"2"'})
    assert same.json()["revision"] == 2
    back = client.put(path(registered), json={"version": "1"}, headers={"If-Match": '"2"'})
    assert back.json()["version"] == registered.version_id
    assert states(client, registered) == {1: "verified", 2: "superseded"}
    with service.database.read() as session:
        events = session.scalars(
            select(LedgerEvent.body).where(LedgerEvent.kind == "alias.moved")
        ).all()
    told = json.loads(events[0])["payload"]
    assert (told["from"], told["to"]) == (registered.version_id, second)
    assert told["reason"] == "looked at the audit"
    assert client.get("/v1/ledger/verify").json()["ok"]


def test_a_move_needs_the_state_that_the_caller_saw(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    second = add_version(service, registered, VersionState.VERIFIED)
    blind = client.put(path(registered), json={"version": second})
    assert blind.status_code == 428
    assert blind.headers["etag"] == '"1"'
    for stale in ('"7"', "1", 'W/"1"'):
        answer = client.put(path(registered), json={"version": second}, headers={"If-Match": stale})
        assert answer.status_code == 412, stale
    assert states(client, registered) == {1: "verified", 2: "verified"}


def test_a_new_alias_needs_no_precondition_and_changes_no_state(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    second = add_version(service, registered, VersionState.STAGED)
    here = path(registered, "candidate")
    assert client.get(here).status_code == 404
    early = client.put(here, json={"version": second}, headers={"If-Match": "*"})
    assert early.status_code == 412
    assert client.put(here, json={"version": second}).json()["revision"] == 1
    assert states(client, registered) == {1: "verified", 2: "staged"}
    versions = client.get(f"/v1/models/{registered.name}/versions/candidate").json()
    assert versions["aliases"] == ["candidate"]


@pytest.mark.parametrize("state", [VersionState.REJECTED, VersionState.PURGED])
def test_no_alias_names_a_version_that_was_rejected_or_purged(
    service: Service, client: httpx.Client, registered: Registered, state: VersionState
) -> None:
    second = add_version(service, registered, state)
    answer = client.put(path(registered), json={"version": second}, headers={"If-Match": '"1"'})
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("/illegal-state")
    assert answer.json()["state"] == state


@pytest.mark.parametrize("name", ["1", "ver_x", "UPPER", "a b", "-x", "x" * 64])
def test_an_alias_does_not_look_like_something_else(shared_service: Service, name: str) -> None:
    with shared_service.client() as client:
        answer = client.put(f"/v1/models/any/aliases/{name}", json={"version": "1"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "path:alias"
