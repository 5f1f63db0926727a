"""What Prometheus scrapes: HTTP as this process saw it, and the work as the database holds it.

The work is counted by SQL at each scrape, so that the figures survive restarts and are the same
from every process. They cover all tenants; no label comes from input.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute, Session

from app import tenancy
from app.db import Database, database_now
from app.services.models import live_workers
from app.states import FINISHED_REQUEST, DeliveryState, JobState, RequestState, VersionState
from app.tables import (
    Audit,
    DeletionRequest,
    Download,
    Job,
    LedgerHead,
    OutboxMessage,
    Version,
    WebhookDelivery,
    WebhookEndpoint,
)

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_VERDICTS = ("pass", "fail", "inconclusive")


class HttpMetrics:
    """Requests by method, route template and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "expunge_http_requests",
            "HTTP requests answered",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "expunge_http_request_seconds",
            "Time from the request's first byte to the answer's last",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; status 0 means that the connection ended without an answer."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(known, route).observe(seconds)


class WorkCollector(Collector):
    """Requests, jobs, versions, ledger and downloads, read from the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """The figures now; `expunge_database_up 0` alone where the database does not answer."""
        try:
            with tenancy.every(), self._database.read() as session:
                found = [
                    *_requests(session),
                    *_jobs(session),
                    *_results(session),
                    *_webhooks(session),
                ]
        except SQLAlchemyError:
            yield _gauge("expunge_database_up", "Whether the database answers", 0)
            return
        yield _gauge("expunge_database_up", "Whether the database answers", 1)
        yield from found


def _requests(session: Session) -> Iterator[Metric]:
    now = database_now(session)
    state = DeletionRequest.state
    oldest = dict(_grouped(session, state, func.min(DeletionRequest.created_at)))
    yield _by_state("expunge_requests", "Deletion requests", RequestState, _counts(session, state))
    waiting = [s for s in RequestState if s not in FINISHED_REQUEST]
    ages = GaugeMetricFamily(
        "expunge_request_oldest_age_seconds",
        "Age of the oldest unfinished deletion request",
        labels=["state"],
    )
    for name in waiting:
        ages.add_metric([name], _seconds(now, oldest.get(name)))
    yield ages
    due = session.scalar(
        select(func.min(DeletionRequest.due_at)).where(state.not_in(FINISHED_REQUEST))
    )
    nearest = GaugeMetricFamily(
        "expunge_request_nearest_deadline_seconds",
        "Time left until the first unfinished deletion request is due; negative when late",
    )
    if due is not None:
        nearest.add_metric([], (due - now).total_seconds())
    yield nearest


def _jobs(session: Session) -> Iterator[Metric]:
    now = database_now(session)
    yield _by_state("expunge_jobs", "Jobs", JobState, _counts(session, Job.state))
    ready = Job.state == JobState.QUEUED, Job.not_before <= now
    depth, oldest = session.execute(
        select(func.count(), func.min(Job.not_before)).where(*ready)
    ).one()
    yield _gauge("expunge_queue_depth", "Jobs that a worker could claim now", depth)
    yield _gauge(
        "expunge_queue_oldest_seconds",
        "How long the first of them has waited",
        _seconds(now, oldest),
    )
    yield _gauge(
        "expunge_live_workers", "Workers that showed themselves of late", len(live_workers(session))
    )
    rung = OutboxMessage.published_at.is_(None)
    first = session.scalar(select(func.min(OutboxMessage.created_at)).where(rung))
    yield _gauge(
        "expunge_outbox_lag_seconds", "Age of the oldest unpublished message", _seconds(now, first)
    )


def _results(session: Session) -> Iterator[Metric]:
    yield _by_state("expunge_versions", "Versions", VersionState, _counts(session, Version.state))
    digest = func.coalesce(Version.delta_sha256, Version.weights_sha256)
    stored = func.coalesce(Version.delta_size, Version.weights_size).label("stored")
    files = select(digest, stored, Version.weights_size).distinct()
    kept = files.where(Version.state != VersionState.PURGED).subquery()
    size, whole = session.execute(
        select(func.sum(kept.c.stored), func.sum(kept.c.weights_size))
    ).one()
    yield _gauge("expunge_stored_bytes", "Bytes of distinct weights kept", float(size or 0))
    saved = float((whole or 0) - (size or 0))
    yield _gauge("expunge_saved_bytes", "Bytes that deltas save of them", saved)
    verdicts = GaugeMetricFamily("expunge_audits", "Audits by verdict", labels=["verdict"])
    found = _counts(session, Audit.verdict)
    for verdict in _VERDICTS:
        verdicts.add_metric([verdict], found.get(verdict, 0))
    yield verdicts
    events = session.scalar(select(func.sum(LedgerHead.seq)))
    yield _gauge("expunge_ledger_events", "Events in all ledgers", float(events or 0))
    taken = session.scalar(select(func.count()).select_from(Download))
    yield _gauge("expunge_downloads", "Downloads of weights", taken or 0)


def _webhooks(session: Session) -> Iterator[Metric]:
    state = WebhookDelivery.state
    counts = _counts(session, state)
    yield _by_state("expunge_webhook_deliveries", "Webhook deliveries", DeliveryState, counts)
    waits = select(func.count(), func.min(WebhookDelivery.waiting_since)).where(
        state == DeliveryState.WAITING, WebhookEndpoint.disabled_at.is_(None)
    )
    waits = waits.join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
    failed = WebhookDelivery.attempts > 0, WebhookDelivery.lease_expires_at.is_(None)
    retried = session.execute(waits.where(*failed)).one()[0]
    yield _gauge("expunge_webhook_retries", "Deliveries that failed and will be retried", retried)
    oldest = session.execute(waits).one()[1]
    yield _gauge(
        "expunge_webhook_oldest_seconds",
        "How long the oldest delivery to an enabled endpoint has waited",
        _seconds(database_now(session), oldest),
    )
    disabled = session.scalar(select(func.count()).where(WebhookEndpoint.disabled_at.is_not(None)))
    yield _gauge("expunge_webhook_endpoints_disabled", "Disabled endpoints", disabled or 0)


def _by_state(
    name: str, told: str, states: type[StrEnum], counts: Mapping[str, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, told, labels=["state"])
    for state in states:
        family.add_metric([state], counts.get(state, 0))
    return family


def _counts(session: Session, column: InstrumentedAttribute[str]) -> Mapping[str, float]:
    return dict(_grouped(session, column, func.count()))


def _grouped(
    session: Session, column: InstrumentedAttribute[str], value: ColumnElement[Any]
) -> Iterator[tuple[str, Any]]:
    for row in session.execute(select(column, value).group_by(column)):
        yield row[0], row[1]


def _gauge(name: str, told: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, told, value=value)


def _seconds(now: datetime, since: datetime | None) -> float:
    return max((now - since).total_seconds(), 0) if since is not None else 0
