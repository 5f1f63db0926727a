"""The HTTP service: `uvicorn --factory app.main:create_app`."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry

from app import logs, openapi, problems
from app.http import Parts
from app.metrics import HttpMetrics, WorkCollector
from app.middleware import BodyLimits, RequestContext
from app.opendsr import processor
from app.routes import (
    aliases,
    console,
    deletion_requests,
    documentation,
    events,
    files,
    health,
    imports,
    jobs,
    keys,
    ledger,
    legal_holds,
    manifest,
    models,
    opendsr,
    receipts,
    request_verbs,
    restriction,
    subjects,
    versions,
    webhooks,
)
from app.settings import Settings, get_settings
from app.webhooks import secret_box

_log = logging.getLogger(__name__)

ROUTERS: list[APIRouter] = [
    deletion_requests.router,  # the first is found quickest
    imports.router,
    request_verbs.router,
    models.router,
    versions.router,
    files.router,
    aliases.router,
    manifest.router,
    restriction.router,
    keys.router,
    ledger.router,
    health.router,
    legal_holds.router,
    receipts.router,
    subjects.router,
    jobs.router,
    events.router,
    webhooks.router,
    opendsr.router,
    console.router,
    documentation.router,
]


def _uploads() -> list[re.Pattern[str]]:
    """The paths of the routes that say they take a form with files."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return [
        route.path_regex
        for route in routes
        if "multipart/form-data"
        in (route.openapi_extra or {}).get("requestBody", {}).get("content", {})
    ]


def _say_faults(settings: Settings) -> None:
    """Log what will not work as it is configured; the rest of the service does."""
    cannot_sign = processor.fault_of(settings)
    if cannot_sign is not None:
        _log.error("OpenDSR's answers cannot be signed: %s", cannot_sign)
    cannot_seal = secret_box.fault_of(settings)
    if cannot_seal is not None:
        _log.error("webhook secrets cannot be sealed: %s", cannot_seal)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service with these settings, or with those of the environment."""
    settings = settings or get_settings()
    parts = Parts(settings)
    registry = CollectorRegistry()
    registry.register(WorkCollector(parts.database))
    registry.register(parts.limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure()
        _say_faults(settings)
        yield
        parts.database.dispose()

    app = FastAPI(
        title="Expunge",
        version="0.1.0",
        summary="Unlearning as a service",
        lifespan=lifespan,
        openapi_tags=openapi.TAGS,
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts = parts
    app.state.registry = registry
    problems.install(app, ROUTERS)
    # The last one added is the outermost.
    app.add_middleware(
        BodyLimits,
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        uploads=_uploads(),
    )
    app.add_middleware(RequestContext, metrics=HttpMetrics(registry))
    for router in ROUTERS:
        app.include_router(router)
    app.openapi = openapi.of(app, ROUTERS)  # type: ignore[method-assign]  # as FastAPI documents it
    return app
