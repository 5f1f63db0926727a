"""Versions out of service over HTTP: how long they are there, and how they go."""

from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from app.auth import Scope
from app.services.retention import purge_due
from app.services.transitions import move_version
from app.states import VersionState
from app.tables import Version
from carried_out import carry_out
from running_service import Registered, Service, add_worker, register_model

MODEL = "/v1/models/digits-model"
FILE = "files/weights.safetensors"


@pytest.fixture(scope="module")
def world(shared_service: Service) -> Registered:
    """A model whose version 1 was superseded by version 2."""
    service = shared_service
    with service.database.write() as session, session.begin():
        add_worker(session)
        model = register_model(session, service.parts.storage)
    with service.client() as client:
        body = {"model": model.name, "instances": ["i-1"]}
        client.post("/v1/deletion-requests", json=body).raise_for_status()
    carry_out(service.parts)
    return model


@pytest.fixture
def caller(shared_service: Service, world: Registered) -> Iterator[httpx.Client]:
    with shared_service.client() as client:
        yield client


def test_a_superseded_version_says_since_when_and_until_when_it_is_there(
    caller: httpx.Client,
) -> None:
    answer = caller.get(f"{MODEL}/versions/1")
    seen, second = answer.json(), caller.get(f"{MODEL}/versions/2")
    ends = parsedate_to_datetime(answer.headers["sunset"])
    assert seen["state"] == "superseded"
    since = int(answer.headers["deprecation"].removeprefix("@"))
    assert ends.timestamp() - since == timedelta(days=30).total_seconds()
    assert seen["purge_at"].startswith(f"{ends:%Y-%m-%dT%H:%M:%S}")
    place = f"<{MODEL}/versions/{second.json()['id']}>"
    assert answer.headers["link"] == f'{place}; rel="successor-version"'
    file = caller.head(f"{MODEL}/versions/1/{FILE}")
    for name in ("deprecation", "sunset", "link"):
        assert file.headers[name] == answer.headers[name]
        assert name not in second.headers
    assert (second.json()["retired_at"], second.json()["purge_at"]) == (None, None)


def test_nothing_ends_where_the_policy_or_an_alias_keeps_it(caller: httpx.Client) -> None:
    caller.patch(MODEL, json={"policy": {"purge_after_days": None}}).raise_for_status()
    answer = caller.get(f"{MODEL}/versions/1")
    assert "sunset" not in answer.headers
    assert "deprecation" in answer.headers
    caller.patch(MODEL, json={"policy": {"purge_after_days": 7}}).raise_for_status()
    assert caller.get(f"{MODEL}/versions/1").json()["purge_at"]
    caller.put(f"{MODEL}/aliases/kept", json={"version": "1"}).raise_for_status()
    answer = caller.get(f"{MODEL}/versions/1")
    assert "sunset" not in answer.headers
    assert answer.json()["purge_at"] is None
    refused = caller.post(f"{MODEL}/versions/1/purge")
    assert refused.status_code == 409
    assert "the alias 'kept' names it" in refused.json()["detail"]
    caller.put(
        f"{MODEL}/aliases/kept", json={"version": "2"}, headers={"If-Match": "*"}
    ).raise_for_status()


def test_a_version_in_service_is_not_purged(caller: httpx.Client) -> None:
    refused = caller.post(f"{MODEL}/versions/2/purge")
    assert refused.status_code == 409
    assert refused.json()["state"] == "verified"


def test_a_negative_or_endless_delay_is_refused(caller: httpx.Client) -> None:
    for days in (-1, 40_000):
        answer = caller.patch(MODEL, json={"policy": {"purge_after_days": days}})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "#/policy/purge_after_days"


def test_who_may_only_read_may_not_purge(shared_service: Service, world: Registered) -> None:
    with shared_service.client(shared_service.key(Scope.VERSIONS_READ)) as reader:
        assert reader.post(f"{MODEL}/versions/1/purge").status_code == 403


def test_a_purged_versions_files_are_gone_and_its_row_and_the_ledger_tell_of_it(
    service: Service, registered: Registered, client: httpx.Client
) -> None:
    body = {"model": registered.name, "instances": ["i-1"]}
    client.post("/v1/deletion-requests", json=body).raise_for_status()
    carry_out(service.parts)
    first = client.get(f"{MODEL}/versions/1").json()
    answer = client.post(f"{MODEL}/versions/1/purge", json={"reason": "asked by the DPO"})
    assert (answer.status_code, answer.json()["state"]) == (200, "purged")
    again = client.post(f"{MODEL}/versions/1/purge")
    assert (again.status_code, again.json()["state"]) == (200, "purged")
    gone = client.get(f"{MODEL}/versions/1/{FILE}")
    assert gone.status_code == 410
    assert gone.json()["type"].endswith("/purged")
    assert not service.parts.storage.exists(first["weights"]["sha256"])
    told = {e["kind"]: e for e in client.get("/v1/events").json()["items"]}
    assert told["version.purged"]["payload"]["sha256"] == first["weights"]["sha256"]
    assert told["version.purged"]["payload"]["reason"] == "asked by the DPO"
    assert told["version.files_removed"]["payload"] == {"sha256": [first["weights"]["sha256"]]}
    assert client.get("/v1/ledger/verify").json()["ok"]
    assert client.get(f"{MODEL}/versions/2/{FILE}").status_code == 200


def test_a_rejected_version_goes_too(sqlite_service: Service) -> None:
    with sqlite_service.database.write() as session, session.begin():
        add_worker(session)
        model = register_model(session, sqlite_service.parts.storage)
    with sqlite_service.client() as client:
        body = {"model": model.name, "instances": ["i-1"]}
        client.post("/v1/deletion-requests", json=body).raise_for_status()
        carry_out(sqlite_service.parts, "fail")
        answer = client.get(f"{MODEL}/versions/2")
        assert answer.json()["state"] == "rejected"
        assert "sunset" in answer.headers
        assert "deprecation" not in answer.headers
        client.patch(MODEL, json={"policy": {"purge_after_days": 0}}).raise_for_status()
        assert purge_due(sqlite_service.database, sqlite_service.parts.weights) == 1
        assert client.get(f"{MODEL}/versions/2").json()["state"] == "purged"


def test_a_version_that_is_retired_by_hand_has_no_successor_of_its_own(
    sqlite_service: Service,
) -> None:
    with sqlite_service.database.write() as session, session.begin():
        add_worker(session)
        model = register_model(session, sqlite_service.parts.storage)
        version = session.get_one(Version, model.version_id)
        move_version(session, version, VersionState.SUPERSEDED, actor="test")
    with sqlite_service.client() as client:
        assert client.get(f"{MODEL}/versions/1").json()["purge_at"] is None, "an alias names it"
