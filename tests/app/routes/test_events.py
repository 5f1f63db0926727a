import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from app import ledger
from carried_out import carry_out
from running_service import Registered, Service

STREAM = {"Accept": "text/event-stream"}


def post(client: httpx.Client, model: Registered, *instances: str) -> str:
    body = {"model": model.name, "instances": instances}
    return str(client.post("/v1/deletion-requests", json=body).json()["id"])


def streamed(response: httpx.Response) -> Iterator[dict[str, Any]]:
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif not line and "data" in fields:
            event = json.loads(fields["data"])
            assert fields["id"] == str(event["seq"])
            assert fields["event"] == event["kind"]
            yield event
            fields = {}


def test_events_are_paged_oldest_first_and_chain(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    post(client, registered, "i-0")
    carry_out(service.parts)
    found: list[dict[str, Any]] = []
    url: str | None = "/v1/events?limit=3"
    while url:
        page = client.get(url)
        found += page.json()["items"]
        url = page.links.get("next", {}).get("url")
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    for before, event in pairwise(found):
        assert event["prev_hash"] == before["hash"]
    told = {
        name: found[0][name] for name in ("seq", "at", "kind", "entity", "actor", "payload", "rows")
    }
    told = {name: value for name, value in told.items() if value is not None}
    body = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert ledger.link(ledger.GENESIS, body) == found[0]["hash"]


def test_a_requests_events_are_its_own_its_jobs_and_its_versions(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    first = post(client, registered, "i-0")
    carry_out(service.parts)
    second = post(client, registered, "i-1")
    seen = client.get(f"/v1/deletion-requests/{first}").json()
    events = client.get(f"/v1/deletion-requests/{first}/events?limit=200").json()["items"]
    assert {event["entity"] for event in events} == {first, seen["job"], seen["version"]}
    others = client.get(f"/v1/deletion-requests/{second}/events").json()["items"]
    assert seen["version"] not in {event["entity"] for event in others}


def test_no_event_holds_an_instance_or_a_subject(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    body = {
        "model": registered.name,
        "instances": ["i-0", "i-secret"],
        "subjects": ["s-1", "s-secret"],
        "on_unknown": "skip",
    }
    client.post("/v1/deletion-requests", json=body).raise_for_status()
    carry_out(service.parts)
    told = client.get("/v1/events?limit=200").text
    for name in ("i-0", "i-secret", "s-1", "s-secret"):
        assert f'"{name}"' not in told
        assert "secret" not in told


def test_a_stream_follows_events_and_goes_on_after_the_last_one_seen(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    post(client, registered, "i-0")
    with client.stream("GET", "/v1/events", headers=STREAM) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = streamed(response)
        seen = [next(events) for _ in range(3)]
        post(client, registered, "i-1")
        seen += [next(events) for _ in range(2)]
    assert [event["seq"] for event in seen] == [1, 2, 3, 4, 5]
    with client.stream("GET", "/v1/events", headers={**STREAM, "Last-Event-ID": "3"}) as response:
        events = streamed(response)
        assert [next(events)["seq"], next(events)["seq"]] == [4, 5]


def test_a_requests_stream_leaves_out_what_others_do(
    client: httpx.Client, registered: Registered
) -> None:
    first = post(client, registered, "i-0")
    second = post(client, registered, "i-1")
    url = f"/v1/deletion-requests/{second}/events"
    with client.stream("GET", url, headers=STREAM) as response:
        events = streamed(response)
        seen = [next(events) for _ in range(3)]
    assert first not in {event["entity"] for event in seen}
    assert [event["kind"] for event in seen] == [
        "job.queued",
        "request.received",
        "request.queued",
    ]


@pytest.mark.parametrize("wrong", ["x", "-1", "9" * 30])
def test_a_stream_cannot_go_on_after_what_is_no_event(sqlite_service: Service, wrong: str) -> None:
    with sqlite_service.client() as client:
        response = client.get("/v1/events", headers={**STREAM, "Last-Event-ID": wrong})
        assert response.status_code == 422
