"""What Prometheus is told."""

import re
from datetime import timedelta

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from app.db import database_now
from app.tables import DeletionRequest
from running_service import Registered, Service


def scraped(client: httpx.Client) -> dict[tuple[str, str], float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_work_is_counted_in_the_database(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    before = scraped(client)
    assert before["expunge_requests", "queued"] == 0
    assert ("expunge_request_nearest_deadline_seconds", "") not in before
    body = {"model": registered.name, "instances": ["i-0"]}
    assert client.post("/v1/deletion-requests", json=body).status_code == 202
    client.get(f"/v1/models/{registered.name}/versions/1/files/weights.safetensors")
    with service.database.write() as session, session.begin():
        now = database_now(session)
        session.execute(
            update(DeletionRequest).values(
                created_at=now - timedelta(hours=1), due_at=now + timedelta(hours=2)
            )
        )
    after = scraped(client)
    assert after["expunge_database_up", ""] == 1
    assert after["expunge_requests", "queued"] == 1
    assert 3600 <= after["expunge_request_oldest_age_seconds", "queued"] < 3700
    assert 7100 < after["expunge_request_nearest_deadline_seconds", ""] <= 7200
    assert after["expunge_jobs", "queued"] == 1
    assert after["expunge_queue_depth", ""] == 1
    assert after["expunge_versions", "verified"] == 1
    assert after["expunge_stored_bytes", ""] > 100
    assert after["expunge_downloads", ""] == 1
    assert after["expunge_ledger_events", ""] >= 2
    assert after["expunge_audits", "pass"] == 0


def test_requests_are_counted_by_route_template_and_never_by_what_callers_send(
    shared_service: Service,
) -> None:
    with shared_service.client() as client:
        for name in ("one", "two", "three"):
            client.get(f"/v1/models/{name}")
            client.get(f"/nowhere/{name}")
        client.request("BREW", "/v1/models")
        found = scraped(client)
        text = client.get("/metrics").text
    assert found["expunge_http_requests_total", "GET,/v1/models/{model},404"] == 3
    assert found["expunge_http_requests_total", "GET,unmatched,404"] == 3
    assert found["expunge_http_request_seconds_count", "GET,/v1/models/{model}"] == 3
    assert not re.search("three|BREW", text)
