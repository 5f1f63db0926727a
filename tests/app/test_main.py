"""The application as a whole: what holds for every answer."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from sqlalchemy import text

from app import main
from app.settings import Settings
from running_service import Service, serve


def test_the_service_is_alive_and_ready(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 200, ready.text
    assert ready.json() == {
        "status": "ok",
        "checks": {
            "database": "ok",
            "schema": "ok",
            "storage": "ok",
            "signing_key": "ok",
            "opendsr": "ok",
            "webhook_secrets": "ok",
        },
        "notes": ["webhook secrets are stored as they are: EXPUNGE_WEBHOOK_KEY_FILE names no key"],
    }


def test_a_service_on_an_old_schema_is_not_ready(service: Service, client: httpx.Client) -> None:
    with service.database.write() as session, session.begin():
        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["schema"].startswith("at revision 0000, needs")
    assert client.get("/healthz").status_code == 200


def test_importing_the_service_imports_nothing_heavy_that_it_does_not_need_at_once() -> None:
    heavy = {"torch", "celery", "numpy", "httpx", "alembic", "jwt", "limits", "redis"}
    code = f"import sys, app.main; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_every_answer_carries_its_request_id_and_the_security_headers(
    shared_service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.access")
    with shared_service.client() as client:
        for path in ("/healthz", "/v1/models", "/v1/nothing", "/openapi.json"):
            answer = client.get(path, headers={"X-Request-ID": "trace-1"})
            assert answer.headers["x-request-id"] == "trace-1"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        one, other = client.get("/healthz"), client.get("/healthz")
        assert one.headers["x-request-id"] != other.headers["x-request-id"]
        odd = client.get("/healthz", headers={"X-Request-ID": "a b\tc"})
        assert odd.headers["x-request-id"] != "a b\tc"
    assert any(record.message.startswith("GET /v1/models 200") for record in caplog.records)


def test_log_lines_carry_the_request_id(
    shared_service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("app")
    handler = logger.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(sys.stderr)
    try:
        httpx.get(f"{shared_service.base_url}/healthz", headers={"X-Request-ID": "trace-2"})
        httpx.get(f"{shared_service.base_url}/healthz")
    finally:
        if before is not None:
            handler.setStream(before)
    assert "app.access [trace-2] GET /healthz 200" in capfd.readouterr().err


@pytest.fixture
def broken(
    tmp_path: Path, sqlite_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """A service with a route that fails in a way nobody expected."""
    router = APIRouter()

    @router.get("/v1/broken")
    def fail() -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr(main, "ROUTERS", [*main.ROUTERS, router])
    yield from serve(Settings(state_dir=tmp_path / "state", database_url=sqlite_database_url))


def test_an_unexpected_error_is_logged_and_told_without_its_trace(
    broken: Service, caplog: pytest.LogCaptureFixture
) -> None:
    answer = httpx.get(f"{broken.base_url}/v1/broken", headers={"X-Request-ID": "trace-3"})
    assert answer.status_code == 500
    assert answer.json()["type"].endswith("/internal")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == "trace-3"
    assert any(record.exc_info for record in caplog.records)
    assert httpx.get(f"{broken.base_url}/healthz").status_code == 200


def test_without_its_database_the_service_says_so_and_recovers(
    postgres: Any, postgres_database_url: str, tmp_path: Path
) -> None:
    name = postgres_database_url.split("@/")[1].split("?", maxsplit=1)[0]
    settings = Settings(state_dir=tmp_path / "state", database_url=postgres_database_url)
    for service in serve(settings):
        with service.client() as client:
            assert client.get("/v1/models").status_code == 200
            postgres.execute(
                f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false",
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
            )
            lost = client.get("/v1/models")
            assert lost.status_code == 503
            assert lost.headers["retry-after"] == "2"
            assert lost.json()["type"].endswith("/unavailable")
            assert client.get("/readyz").json()["checks"]["database"] == "cannot be reached"
            assert "expunge_database_up 0.0" in client.get("/metrics").text
            postgres.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
            assert client.get("/v1/models").status_code == 200


def test_the_description_of_the_api_is_openapi_3_1_with_an_example_of_everything(
    shared_service: Service,
) -> None:
    document = httpx.get(f"{shared_service.base_url}/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    tags = {tag["name"] for tag in document["tags"]}
    open_paths = {"/healthz", "/readyz", "/metrics", "/.well-known/jwks.json"}
    open_paths |= {"/dsr/v2/discovery", "/dsr/v2/certificate"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert set(operation["tags"]) <= tags, where
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["responses"]["default"]["content"], where
            if path not in open_paths:
                assert operation["security"], where
                assert all(set(way) == {"bearer"} for way in operation["security"]), where
            names = [p["name"] for p in operation.get("parameters", [])]
            assert (method == "post") == ("Idempotency-Key" in names), where
            contents = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in contents:
                for media in content.get("content", {}).values():
                    assert "example" in media or "examples" in media, where
