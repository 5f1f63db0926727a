"""Nobody gets two versions whose difference shows what was forgotten, unless they may."""

from collections.abc import Iterator

import httpx
import pytest

from app.auth import Scope
from carried_out import carry_out
from running_service import Service, add_worker, register_model, weights_bytes

FILE = "files/weights.safetensors"


def _three_versions(service: Service) -> None:
    """Versions 1, 2 and 3, each made from the one before."""
    with service.database.write() as session, session.begin():
        add_worker(session)
        model = register_model(session, service.parts.storage)
    with service.client() as client:
        for instance in ("i-1", "i-2"):
            body = {"model": model.name, "instances": [instance]}
            client.post("/v1/deletion-requests", json=body).raise_for_status()
            carry_out(service.parts)


@pytest.fixture(scope="module")
def world(shared_service: Service) -> Service:
    _three_versions(shared_service)
    return shared_service


@pytest.fixture
def taker(world: Service) -> Iterator[httpx.Client]:
    """Somebody who has not taken anything yet."""
    with world.client(world.key(Scope.VERSIONS_DOWNLOAD)) as client:
        yield client


def path(number: int) -> str:
    return f"/v1/models/digits-model/versions/{number}/{FILE}"


def test_of_consecutive_versions_one_caller_gets_one(service: Service) -> None:
    _three_versions(service)
    with service.client(service.key(Scope.VERSIONS_DOWNLOAD)) as taker:
        assert taker.get(path(2)).status_code == 200
        for number in (1, 3):
            refused = taker.get(path(number))
            problem = refused.json()
            assert refused.status_code == 403
            assert problem["type"].endswith("/consecutive-version")
            assert "you took version 2 before" in problem["detail"]
            assert problem["taken"]["number"] == 2
            assert taker.get(path(number), headers={"Range": "bytes=1-"}).status_code == 403
            assert taker.head(path(number)).status_code == 200
        assert taker.get(path(2)).status_code == 200, "the same again tells nothing new"
    with service.client() as reader:
        taken = reader.get("/v1/models/digits-model/recipients").json()["items"]
    assert len(taken) == 2, "a refusal is no download"
    assert len({one["version"] for one in taken}) == 1


def test_a_later_version_is_not_consecutive(taker: httpx.Client) -> None:
    assert taker.get(path(1)).status_code == 200
    assert taker.get(path(3)).status_code == 200
    assert taker.get(path(2)).status_code == 403


def test_who_begins_in_the_middle_is_remembered_once(world: Service, taker: httpx.Client) -> None:
    for _ in range(2):
        assert taker.get(path(1), headers={"Range": "bytes=1-"}).status_code == 206
    assert taker.get(path(2)).status_code == 403
    who = taker.get("/v1/whoami").json()["principal"]
    with world.client() as reader:
        items = reader.get("/v1/models/digits-model/recipients").json()["items"]
    assert [one["principal"] for one in items].count(who) == 1


def test_everybody_has_an_account_of_their_own(world: Service, taker: httpx.Client) -> None:
    assert taker.get(path(1)).status_code == 200
    with world.client(world.key(Scope.VERSIONS_DOWNLOAD)) as other:
        assert other.get(path(2)).status_code == 200


@pytest.mark.parametrize("scope", [Scope.VERSIONS_FOLLOW, Scope.ADMIN])
def test_a_host_that_serves_the_model_gets_every_version(world: Service, scope: Scope) -> None:
    with world.client(world.key(scope)) as host:
        assert [host.get(path(number)).status_code for number in (1, 2, 3)] == [200] * 3


def test_a_registered_version_forgot_nothing_that_its_parent_shows(
    world: Service, taker: httpx.Client
) -> None:
    files = {"weights": weights_bytes(0.25), "manifest": b'{"id": "i-77"}\n', "parent": b"3"}
    with world.client() as admin:
        admin.post("/v1/models/digits-model/versions", files=files).raise_for_status()
    assert [taker.get(path(number)).status_code for number in (3, 4)] == [200] * 2


def test_the_policy_can_allow_it(world: Service, taker: httpx.Client) -> None:
    allowed = {"policy": {"consecutive_downloads": "allow"}}
    with world.client() as admin:
        admin.patch("/v1/models/digits-model", json=allowed).raise_for_status()
    assert [taker.get(path(number)).status_code for number in (1, 2)] == [200] * 2
