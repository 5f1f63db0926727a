"""The metrics, from a service that was just started on an empty database."""

import tempfile
from pathlib import Path

from fastapi.testclient import TestClient
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app import check_metrics, migrate
from app.db import Database
from app.main import create_app
from app.settings import Settings
from generators.source import table

_HEAD = """# Metrics

`GET /metrics` answers in Prometheus' text format. What concerns requests, jobs and versions is read
from the database, so that it survives a restart and is right with several processes; HTTP metrics
are those of the process that answers. No label comes from what a caller sent.

`expunge_check_*` are in the file that `python -m app check --metrics-file FILE` writes: run it by a
timer, with the file in the folder of the node exporter's textfile collector.

"""
_TAIL = """

`deploy/prometheus.yml` scrapes it, `deploy/alerts.yml` has alert rules to begin with.
"""


def page() -> str:
    """Markdown."""
    rows = [
        (f"`{name}`", kind, told) for name, kind, told in families() if name.startswith("expunge_")
    ]
    return _HEAD + table(("metric", "type", "what"), rows) + _TAIL


def families() -> list[tuple[str, str, str]]:
    """Name, type and help of every metric that a new service shows, or its check writes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(state_dir=Path(folder), database_url=f"sqlite:///{folder}/expunge.db")
        database = Database(settings.database)
        migrate.upgrade(database)
        database.dispose()
        with TestClient(create_app(settings)) as client:
            text = client.get("/metrics").raise_for_status().text
    text += generate_latest(
        check_metrics.registry_of(dict.fromkeys(check_metrics.PARTS, 0))
    ).decode()
    return [
        (
            f"{family.name}_total" if family.type == "counter" else family.name,
            family.type,
            family.documentation,
        )
        for family in text_string_to_metric_families(text)
    ]
