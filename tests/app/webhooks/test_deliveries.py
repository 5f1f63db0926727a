"""Events on their way to a real receiver on loopback."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.db import database_now
from app.tables import WebhookDelivery, WebhookEndpoint
from app.webhooks import queue
from app.webhooks.sending import Outcome
from expunge.errors import WebhookInvalid
from expunge.webhooks import verify
from running_service import Service
from scripted_server import Reply, Script


def tell(client: httpx.Client, name: str = "somebody") -> None:
    """Something that the ledger tells of."""
    body = {"name": name, "scopes": ["requests:write"]}
    client.post("/v1/api-keys", json=body).raise_for_status()


def deliveries(client: httpx.Client, made: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    url = f"/v1/webhook-endpoints/{made['id']}/deliveries"
    items = client.get(url, params=query).raise_for_status().json()["items"]
    assert isinstance(items, list)
    return items


def test_an_event_arrives_signed_and_as_the_events_api_shows_it(
    client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    made = endpoint(kinds=["api_key.*"])
    tell(client)
    assert deliverer.run() == 1
    assert deliverer.run() == 0
    (seen,) = receiver.seen
    event = verify(made["secret"], seen.headers, seen.body)
    assert json.loads(seen.body) == client.get("/v1/events?limit=200").json()["items"][-1]
    assert event.kind == "api_key.created"
    (shown,) = deliveries(client, made)
    assert seen.headers["webhook-id"] == shown["id"]
    assert (shown["state"], shown["last_status"], shown["last_answer"]) == (
        "delivered",
        200,
        "thanks",
    )
    assert shown["next_attempt_at"] is None


def test_a_new_endpoint_is_told_of_itself_and_of_nothing_before(
    client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    tell(client)
    made = endpoint()
    deliverer.run()
    (seen,) = receiver.seen
    event = verify(made["secret"], seen.headers, seen.body)
    assert (event.kind, event.entity) == ("webhook_endpoint.created", made["id"])
    assert made["secret"] not in seen.body.decode()


def test_an_endpoint_can_begin_in_the_past(
    client: httpx.Client, endpoint: Any, deliverer: Any
) -> None:
    tell(client)
    endpoint(after=0)
    deliverer.run()
    assert [row.event_seq for row in deliverer.rows()] == [1, 2]


def test_a_failed_delivery_waits_longer_each_time_and_is_dead_in_the_end(
    client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    made = endpoint()
    receiver.say(Reply(500, b"ouch"))
    assert deliverer.run() == 1
    assert deliverer.run() == 0
    assert deliverer.seconds_to_next() <= 5
    assert deliverer.run_again() == 1
    assert deliverer.seconds_to_next() <= 20
    (shown,) = deliveries(client, made, state="waiting")
    assert (shown["attempts"], shown["last_status"], shown["last_answer"]) == (2, 500, "ouch")
    assert client.get(f"/v1/webhook-endpoints/{made['id']}").json()["failing_since"]
    assert deliverer.run_again() == 1
    assert deliverer.run_again() == 0
    (shown,) = deliveries(client, made, state="dead")
    assert shown["attempts"] == 3
    assert len({seen.headers["webhook-id"] for seen in receiver.seen}) == 1


def test_the_wait_grows_fourfold_up_to_half_a_day_and_is_left_to_chance() -> None:
    for attempts, longest in ((1, 5), (2, 20), (3, 80), (9, 12 * 3600), (500, 12 * 3600)):
        waits = [queue.wait_before(attempts, 5, None).total_seconds() for _ in range(50)]
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert len(set(waits)) > 1


def test_a_dead_delivery_is_replayed_under_its_own_id(
    client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    made = endpoint()
    receiver.say(Reply(500), Reply(500), Reply(500), Reply(204, b""))
    for _ in range(3):
        deliverer.run_again()
    (dead,) = deliveries(client, made, state="dead")
    url = f"/v1/webhook-endpoints/{made['id']}/deliveries/{dead['id']}"
    answer = client.post(f"{url}/replay")
    assert (answer.status_code, answer.json()["state"]) == (202, "waiting")
    assert deliverer.run() == 1
    shown = client.get(url).json()
    assert (shown["state"], shown["last_status"]) == ("delivered", 204)
    assert receiver.seen[-1].headers["webhook-id"] == dead["id"]
    assert client.get(f"/v1/webhook-endpoints/{made['id']}").json()["failing_since"] is None


def test_a_replay_from_a_cursor_delivers_all_behind_it_again_also_what_was_pruned(
    service: Service, client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    made = endpoint()
    tell(client)
    tell(client)
    assert deliverer.run() == 3
    first, second, third = deliverer.rows()
    with service.database.write() as session, session.begin():
        session.delete(session.get_one(WebhookDelivery, third.id))
    url = f"/v1/webhook-endpoints/{made['id']}/replay"
    assert client.post(url, json={"after": first.event_seq}).status_code == 202
    assert deliverer.run() == 2
    again = [json.loads(seen.body)["seq"] for seen in receiver.seen[3:]]
    assert sorted(again) == [second.event_seq, third.event_seq]
    assert receiver.seen[-1].headers["webhook-id"] != ""
    assert second.id in [seen.headers["webhook-id"] for seen in receiver.seen[3:]]


def test_two_workers_never_hold_the_same_delivery(
    service: Service, client: httpx.Client, endpoint: Any
) -> None:
    endpoint()
    for _ in range(5):
        tell(client)
    queue.derive(service.database)
    held = [
        one.message.id
        for _ in range(4)
        for one in queue.claim(service.database, service.parts.settings)
    ]
    assert len(held) == len(set(held)) == 6


def test_a_worker_that_died_loses_its_delivery_and_settles_nothing_any_more(
    service: Service, client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    endpoint()
    queue.derive(service.database)
    (lost,) = queue.claim(service.database, service.parts.settings)
    assert deliverer.run() == 0
    with service.database.write() as session, session.begin():
        now = database_now(session)
        session.execute(update(WebhookDelivery).values(lease_expires_at=now))
    assert deliverer.run() == 1
    queue.settle(service.database, service.parts.settings, lost, Outcome(500, "late"))
    (row,) = deliverer.rows()
    assert (row.state, row.last_status, len(receiver.seen)) == ("delivered", 200, 1)


def test_a_removed_endpoint_takes_an_attempt_under_way_with_it(
    service: Service, client: httpx.Client, endpoint: Any, deliverer: Any
) -> None:
    made = endpoint()
    queue.derive(service.database)
    (held,) = queue.claim(service.database, service.parts.settings)
    assert client.delete(f"/v1/webhook-endpoints/{made['id']}").status_code == 204
    queue.settle(service.database, service.parts.settings, held, Outcome(200, ""))
    assert deliverer.rows() == []
    assert client.get(f"/v1/webhook-endpoints/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("status", "told", "least", "most"),
    [
        (429, "120", 60, 120),
        (503, "120", 60, 120),
        (503, "in two hours", 5400, 7200),
        (429, "99999999999", 43000, 43200),
        (500, "120", -60, 5),
        (429, "soon", -60, 5),
        (429, "-1", -60, 5),
    ],
)
def test_a_busy_receiver_is_left_alone_for_as_long_as_it_asks(
    client: httpx.Client,
    endpoint: Any,
    receiver: Script,
    deliverer: Any,
    status: int,
    told: str,
    least: float,
    most: float,
) -> None:
    if told == "in two hours":
        told = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    receiver.say(Reply(status, b"busy", {"Retry-After": told}))
    endpoint()
    deliverer.run()
    assert least < deliverer.seconds_to_next() <= most


def test_a_failing_endpoint_does_not_keep_others_waiting(
    client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    receiver.say(lambda seen: Reply(500 if seen.path == "/bad" else 200))
    bad = endpoint(url=f"{receiver.url}/bad", kinds=["api_key.created"])
    good = endpoint(url=f"{receiver.url}/good", kinds=["api_key.created"])
    for _ in range(6):
        tell(client)
    assert deliverer.run() == 12
    assert {one["state"] for one in deliveries(client, bad)} == {"waiting"}
    assert {one["state"] for one in deliveries(client, good)} == {"delivered"}


def test_a_disabled_endpoint_gets_everything_once_it_is_enabled(
    client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    made = endpoint(kinds=["api_key.created"])
    url = f"/v1/webhook-endpoints/{made['id']}"
    assert client.patch(url, json={"enabled": False}).json()["disabled_at"]
    tell(client)
    assert deliverer.run() == 0
    answer = client.patch(url, json={"enabled": True}).json()
    assert answer["disabled_at"] is answer["disabled_reason"] is None
    assert deliverer.run() == 1
    assert len(receiver.seen) == 1


def test_an_endpoint_where_nothing_succeeded_for_long_is_disabled_and_the_ledger_tells(
    service: Service, client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    made = endpoint()
    receiver.say(Reply(503))
    deliverer.run()
    url = f"/v1/webhook-endpoints/{made['id']}"
    with service.database.write() as session, session.begin():
        long_ago = database_now(session).replace(year=2020)
        session.execute(update(WebhookEndpoint).values(failing_since=long_ago))
    deliverer.run_again()
    assert client.get(url).json()["disabled_at"] is None
    deliverer.run_again()
    shown = client.get(url).json()
    assert shown["disabled_at"]
    assert shown["disabled_reason"].startswith("nothing was delivered since 2020")
    last = client.get("/v1/events?limit=200").json()["items"][-1]
    assert (last["kind"], last["entity"]) == ("webhook_endpoint.disabled", made["id"])


def test_a_receiver_that_is_gone_is_asked_no_more(
    client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    made = endpoint()
    receiver.say(Reply(410))
    deliverer.run()
    shown = client.get(f"/v1/webhook-endpoints/{made['id']}").json()
    assert shown["disabled_reason"] == "the receiver answered 410 Gone"
    assert deliverer.run_again() == 0


def test_after_a_rotation_both_secrets_verify_until_the_former_one_ends(
    service: Service, client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    made = endpoint(kinds=["api_key.created"])
    rotated = client.post(f"/v1/webhook-endpoints/{made['id']}/rotate-secret").json()
    assert rotated["secret"] != made["secret"]
    assert rotated["former_secret_until"]
    tell(client)
    deliverer.run()
    seen = receiver.seen[-1]
    for secret in (made["secret"], rotated["secret"]):
        assert verify(secret, seen.headers, seen.body).kind == "api_key.created"
    with service.database.write() as session, session.begin():
        now = database_now(session)
        session.execute(update(WebhookEndpoint).values(former_secret_until=now))
    tell(client)
    deliverer.run()
    seen = receiver.seen[-1]
    verify(rotated["secret"], seen.headers, seen.body)
    with pytest.raises(WebhookInvalid):
        verify(made["secret"], seen.headers, seen.body)


def test_what_was_delivered_a_month_ago_is_dropped_and_what_waits_is_kept(
    service: Service, client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    endpoint()
    tell(client)
    receiver.say(Reply(200), Reply(500))
    deliverer.run()
    queue.prune_deliveries(service.database)
    assert len(deliverer.rows()) == 2
    with service.database.write() as session, session.begin():
        long_ago = database_now(session).replace(year=2020)
        session.execute(update(WebhookDelivery).values(last_attempt_at=long_ago))
    queue.prune_deliveries(service.database)
    assert [row.state for row in deliverer.rows()] == ["waiting"]


def test_the_metrics_tell_what_waits_fails_and_is_dead(
    client: httpx.Client, endpoint: Any, receiver: Script, deliverer: Any
) -> None:
    made = endpoint(kinds=["api_key.created"])
    receiver.say(Reply(200), Reply(500))
    for _ in range(3):
        tell(client)
    deliverer.run()
    told = client.get("/metrics").text
    assert 'expunge_webhook_deliveries{state="delivered"} 1.0' in told
    assert 'expunge_webhook_deliveries{state="waiting"} 2.0' in told
    assert "expunge_webhook_retries 2.0" in told
    assert "expunge_webhook_oldest_seconds 0.0\n" not in told
    deliverer.run_again()
    deliverer.run_again()
    client.patch(f"/v1/webhook-endpoints/{made['id']}", json={"enabled": False})
    told = client.get("/metrics").text
    assert 'expunge_webhook_deliveries{state="dead"} 2.0' in told
    assert "expunge_webhook_retries 0.0" in told
    assert "expunge_webhook_oldest_seconds 0.0\n" in told
    assert "expunge_webhook_endpoints_disabled 1.0" in told
