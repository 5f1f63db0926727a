"""Who may call, and what they may see."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from app.auth import KeyHasher, Scope
from app.db import database_now
from app.tables import ApiKey
from running_service import Registered, Service, add_tenant, add_worker, register_model


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Bearer exp__",
        "Bearer exp_abc_def",
        "Basic YTpi",
        "Bearer exp_\u00e9_x",
    ],
)
def test_without_a_known_key_nobody_gets_in(
    shared_service: Service, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    answer = httpx.get(f"{shared_service.base_url}/v1/whoami", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["type"].endswith("/unauthorized")


def test_a_key_with_one_character_changed_is_refused(shared_service: Service) -> None:
    key = shared_service.admin_key
    for position in (5, 20, len(key) - 1):
        other = "A" if key[position] != "A" else "B"
        changed = key[:position] + other + key[position + 1 :]
        with shared_service.client(changed) as client:
            assert client.get("/v1/whoami").status_code == 401


def test_a_missing_scope_is_named(service: Service) -> None:
    with service.client(service.key(Scope.VERSIONS_READ)) as client:
        answer = client.post("/v1/models", json={"name": "m", "workload": "digits"})
    assert answer.status_code == 403
    assert answer.json()["required"] == ["models:write"]
    assert "models:write" in answer.json()["detail"]


def test_whoami_tells_tenant_principal_and_scopes(service: Service) -> None:
    key = service.key(Scope.VERSIONS_READ, Scope.LEDGER_READ)
    with service.client(key) as client:
        who = client.get("/v1/whoami").json()
    assert who["tenant"] == "ten_default"
    assert who["principal"].startswith("key_")
    assert who["scopes"] == ["ledger:read", "versions:read"]


def test_a_key_is_shown_once_works_and_can_be_revoked(
    service: Service, client: httpx.Client
) -> None:
    made = client.post("/v1/api-keys", json={"name": "portal", "scopes": ["versions:read"]})
    assert made.status_code == 201, made.text
    key = made.json()["key"]
    place = made.headers["location"]
    with service.client(key) as portal:
        assert portal.get("/v1/models").status_code == 200
        assert "key" not in client.get(place).json()
        assert client.delete(place).status_code == 204
        assert client.delete(place).status_code == 204
        assert portal.get("/v1/models").status_code == 401
    listed = client.get("/v1/api-keys").json()["items"]
    assert [item["name"] for item in listed] == ["portal", "admin"]
    assert listed[0]["revoked_at"] is not None
    assert key not in client.get("/v1/api-keys").text
    assert client.get("/v1/ledger/verify").json()["ok"]


def test_a_repetition_does_not_make_a_second_key_nor_show_the_first(client: httpx.Client) -> None:
    body = {"name": "portal", "scopes": ["admin"]}
    headers = {"Idempotency-Key": "make-a-key"}
    made = client.post("/v1/api-keys", json=body, headers=headers)
    again = client.post("/v1/api-keys", json=body, headers=headers)
    assert again.status_code == 409
    assert again.json()["key_id"] == made.json()["id"]
    assert made.json()["key"] not in again.text
    assert len(client.get("/v1/api-keys").json()["items"]) == 2


def test_an_expired_key_is_refused_and_cannot_be_made(
    service: Service, client: httpx.Client
) -> None:
    now = datetime.now(UTC)
    body = {"name": "short", "scopes": ["admin"]}
    in_an_hour = body | {"expires_at": (now + timedelta(hours=1)).isoformat()}
    made = client.post("/v1/api-keys", json=in_an_hour).json()
    with service.client(made["key"]) as short:
        assert short.get("/v1/whoami").status_code == 200
        with service.database.write() as session, session.begin():
            past = database_now(session) - timedelta(seconds=1)
            session.execute(update(ApiKey).where(ApiKey.id == made["id"]).values(expires_at=past))
        assert "expired" in short.get("/v1/whoami").json()["detail"]
    gone_by = body | {"expires_at": (now - timedelta(seconds=1)).isoformat()}
    late = client.post("/v1/api-keys", json=gone_by)
    assert late.status_code == 422
    assert late.json()["errors"][0]["pointer"] == "#/expires_at"


def test_the_pepper_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "secrets" / "pepper"
    first = KeyHasher(file).hash("exp_a_b")
    assert KeyHasher(file).hash("exp_a_b") == first
    assert KeyHasher(tmp_path / "other").hash("exp_a_b") != first
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def foreign(service: Service, registered: Registered) -> Iterator[httpx.Client]:
    """A client of another tenant, with every scope."""
    with service.database.write() as session, session.begin():
        tenant = add_tenant(session, "other")
    with service.client(service.key(Scope.ADMIN, tenant_id=tenant)) as client:
        yield client


def test_another_tenants_rows_are_as_if_they_were_not_there(
    foreign: httpx.Client, client: httpx.Client, registered: Registered
) -> None:
    key = client.get("/v1/api-keys").json()["items"][0]["id"]
    model, version = registered.model_id, registered.version_id
    for name in (model, registered.name):
        here = f"/v1/models/{name}"
        for path in (
            here,
            f"{here}/versions",
            f"{here}/versions/{version}",
            f"{here}/versions/{version}/lineage",
            f"{here}/versions/{version}/audit",
            f"{here}/versions/{version}/files/weights.safetensors",
            f"{here}/manifest",
            f"{here}/recipients",
            f"{here}/aliases/production",
            f"/v1/api-keys/{key}",
        ):
            assert foreign.get(path).status_code == 404, path
        assert foreign.patch(here, json={"name": "mine"}).status_code == 404
        assert foreign.delete(here).status_code == 404
        move = {"version": version}
        assert foreign.put(f"{here}/aliases/production", json=move).status_code == 404
        files = {"weights": b"x", "manifest": b"y"}
        assert foreign.post(f"{here}/versions", files=files).status_code == 404
    assert foreign.delete(f"/v1/api-keys/{key}").status_code == 404
    assert foreign.get("/v1/models").json()["items"] == []
    assert foreign.get("/v1/ledger/head").json()["seq"] == 0


def test_two_tenants_may_use_the_same_name(service: Service, foreign: httpx.Client) -> None:
    with service.database.write() as session, session.begin():
        add_worker(session, "another")
    answer = foreign.post("/v1/models", json={"name": "digits-model", "workload": "digits"})
    assert answer.status_code == 201
    assert foreign.get("/v1/models/digits-model").json()["id"] == answer.json()["id"]


def test_versions_of_one_model_are_not_found_under_another(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    with service.database.write() as session, session.begin():
        other = register_model(session, service.parts.storage, "other-model")
    assert client.get(f"/v1/models/digits-model/versions/{other.version_id}").status_code == 404
    move = {"version": other.version_id}
    path = "/v1/models/digits-model/aliases/candidate"
    assert client.put(path, json=move).status_code == 404


def test_a_key_that_another_process_revoked_writes_nothing_more(service: Service) -> None:
    with service.database.write() as session, session.begin():
        add_worker(session)
        model = register_model(session, service.parts.storage)
    key = service.key(Scope.REQUESTS_WRITE)
    body = {"model": model.name, "instances": model.instances[:1]}
    with service.client(key) as client:
        assert client.post("/v1/deletion-requests", json=body).status_code == 202
        with service.database.write() as session, session.begin():
            prefix = key.split("_")[1]
            session.execute(
                update(ApiKey)
                .where(ApiKey.prefix == prefix)
                .values(revoked_at=database_now(session))
            )
        for more in ({}, {"Idempotency-Key": "k"}):
            answer = client.post("/v1/deletion-requests", json=body, headers=more)
            assert answer.status_code == 401
            assert "revoked" in answer.json()["detail"]
        asked = client.post("/v1/deletion-requests", json={**body, "validate_only": True})
        assert asked.status_code == 401
    with service.client() as client:
        assert len(client.get("/v1/deletion-requests").json()["items"]) == 1


def test_a_key_that_is_remembered_is_not_let_in_once_it_is_revoked(service: Service) -> None:
    key = service.key(Scope.REQUESTS_WRITE)
    with service.client(key) as client, service.client() as admin:
        own = client.get("/v1/whoami").json()["principal"]
        assert client.post("/v1/deletion-requests", json={}).status_code == 422
        assert admin.delete(f"/v1/api-keys/{own}").status_code == 204
        assert client.post("/v1/deletion-requests", json={}).status_code == 401
