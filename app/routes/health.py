"""Liveness, readiness and metrics: for whoever runs the service, without a key."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import migrate
from app.http import Parts, PartsDep
from app.opendsr import processor
from app.webhooks import secret_box

router = APIRouter(tags=["operations"])


@router.get("/healthz")
def live() -> dict[Literal["status"], Literal["ok"]]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def ready(parts: PartsDep) -> JSONResponse:
    """Every part that a request needs works: 200, or 503 with what does not.

    `notes` are no faults: the service works, and could be set up better.
    """
    checks = {
        "database": _database(parts),
        "schema": _schema(parts),
        "storage": _storage(parts),
        "signing_key": "ok",  # without one the process would not have started
        "opendsr": processor.fault_of(parts.settings) or "ok",
        "webhook_secrets": secret_box.fault_of(parts.settings) or "ok",
    }
    well = all(result == "ok" for result in checks.values())
    notes = [secret_box.PLAIN_SECRETS] if parts.settings.webhook_key_file is None else []
    told = {"status": "ok" if well else "unavailable", "checks": checks, "notes": notes}
    return JSONResponse(told, 200 if well else 503)


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


def _database(parts: Parts) -> str:
    try:
        with parts.database.read() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return "cannot be reached"
    return "ok"


def _schema(parts: Parts) -> str:
    try:
        found, wanted = migrate.current(parts.database), migrate.head()
    except SQLAlchemyError:
        return "unknown"
    return "ok" if found == wanted else f"at revision {found}, needs {wanted}: run `db upgrade`"


def _storage(parts: Parts) -> str:
    try:
        parts.storage.check()
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    return "ok"
