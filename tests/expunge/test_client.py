import json
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from expunge import Client
from expunge.errors import (
    Conflict,
    ExpungeError,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    PreconditionFailed,
    ServiceUnavailable,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
    WaitTimeout,
)
from expunge.transport import pause, retry_after
from scripted_server import Reply, Script, problem

BUSY = {"Retry-After": "0"}


def request(state: str, **more: Any) -> bytes:
    return json.dumps(
        {
            "id": "req_1",
            "model": {"id": "mod_1", "name": "m"},
            "state": state,
            "scope": "full",
            "tasks": ["digit"],
            "instance_count": 1,
            "received_at": "2026-03-04T09:00:00Z",
            "due_at": "2026-04-04T09:00:00Z",
            "created_at": "2026-03-04T09:00:00Z",
            "updated_at": "2026-03-04T09:00:00Z",
            **more,
        }
    ).encode()


def test_a_post_is_tried_again_with_the_same_idempotency_key(script: Script) -> None:
    script.say(
        problem(503, "unavailable", "later", headers=BUSY),
        problem(429, "too-many", "later", headers=BUSY),
        Reply(202, request("queued")),
    )
    with Client(script.url, "secret") as client:
        created = client.requests.create("m", instances=["a"], tasks=["digit"])
    assert created.state == "queued"
    keys = {seen.headers["Idempotency-Key"] for seen in script.seen}
    assert len(script.seen) == 3
    assert len(keys) == 1
    assert script.seen[0].headers["Authorization"] == "Bearer secret"
    assert json.loads(script.seen[0].body) == {
        "model": "m",
        "instances": ["a"],
        "tasks": ["digit"],
        "on_unknown": "refuse",
    }


def test_two_posts_have_different_idempotency_keys(script: Script) -> None:
    script.say(Reply(202, request("queued")))
    with Client(script.url) as client:
        client.requests.create("m", instances=["a"])
        client.requests.create("m", instances=["a"])
    assert len({seen.headers["Idempotency-Key"] for seen in script.seen}) == 2


def test_a_post_whose_first_try_still_runs_is_asked_for_again(script: Script) -> None:
    script.say(problem(409, "still-running", "wait", headers=BUSY), Reply(202, request("queued")))
    with Client(script.url) as client:
        assert client.requests.create("m", instances=["a"]).state == "queued"


def test_a_lost_connection_is_tried_again(script: Script) -> None:
    script.say(Reply(200, request("queued"), cut=10), Reply(200, request("queued")))
    with Client(script.url) as client:
        assert client.requests.get("req_1").state == "queued"
    assert len(script.seen) == 2


def test_it_gives_up_after_several_tries(script: Script) -> None:
    script.say(problem(503, "unavailable", "the database is away", headers=BUSY))
    with Client(script.url, tries=3) as client, pytest.raises(ServiceUnavailable, match="away"):
        client.requests.get("req_1")
    assert len(script.seen) == 3


def test_retry_after_is_waited_for(script: Script) -> None:
    script.say(
        problem(503, "unavailable", "later", headers={"Retry-After": "1"}),
        Reply(200, request("queued")),
    )
    began = time.monotonic()
    with Client(script.url) as client:
        client.requests.get("req_1")
    assert time.monotonic() - began >= 1


def test_retry_after_may_be_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (retry_after(later) or 0) <= 30
    assert retry_after("3") == 3
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_pauses_double_up_to_a_bound_and_differ() -> None:
    pauses = [[pause(tries, None) for _ in range(50)] for tries in range(1, 9)]
    assert all(0.125 <= p <= 0.25 for p in pauses[0])
    assert all(4 <= p <= 8 for p in pauses[-1])
    assert len(set(pauses[0])) > 40


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (412, PreconditionFailed),
        (413, TooLarge),
        (422, Invalid),
        (428, PreconditionFailed),
        (429, TooManyRequests),
        (500, ServiceUnavailable),
    ],
)
def test_a_refusal_is_the_error_of_its_status(
    script: Script, status: int, kind: type[ExpungeError]
) -> None:
    script.say(problem(status, "some-reason", "because", extensions={"state": "completed"}))
    with Client(script.url, tries=1) as client, pytest.raises(kind) as caught:
        client.requests.get("req_1")
    assert type(caught.value) is kind
    assert caught.value.slug == "some-reason"
    assert caught.value.extensions == {"state": "completed"}
    assert str(caught.value) == "because"


def test_a_refusal_names_each_field(script: Script) -> None:
    errors = [{"pointer": "#/tasks/0", "detail": "there is no task 'colour'"}]
    script.say(problem(422, "invalid", "two things are wrong", extensions={"errors": errors}))
    with Client(script.url) as client, pytest.raises(Invalid) as caught:
        client.requests.create("m", instances=["a"], tasks=["colour"])
    assert str(caught.value) == "two things are wrong\n  #/tasks/0: there is no task 'colour'"
    assert len(script.seen) == 1


def test_a_refusal_of_something_else_on_the_way_is_told_too(script: Script) -> None:
    script.say(Reply(502, b"<html>Bad Gateway</html>", BUSY))
    with Client(script.url, tries=1) as client, pytest.raises(ServiceUnavailable, match="502"):
        client.requests.get("req_1")


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b'{"id": "req_1"}'])
def test_an_answer_of_another_program_is_recognised(script: Script, body: bytes) -> None:
    script.say(Reply(200, body))
    with Client(script.url) as client, pytest.raises(UnexpectedAnswer, match="does not answer"):
        client.requests.get("req_1")


def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with Client(url, tries=2) as client, pytest.raises(Unreachable, match="no service answers"):
            client.requests.get("req_1")


def test_an_address_without_a_scheme_is_named() -> None:
    with Client("127.0.0.1") as client, pytest.raises(Unreachable, match="http://"):
        client.health.live()


def test_a_list_fetches_pages_only_as_they_are_needed(script: Script) -> None:
    job = {
        "id": "job_1",
        "model": {"id": "mod_1", "name": "m"},
        "kind": "unlearn",
        "state": "queued",
        "created_at": "2026-03-04T09:00:00Z",
        "a_member_of_a_later_version": 1,
    }
    script.say(
        Reply(body=json.dumps({"items": [job, job], "next": "c1"}).encode()),
        Reply(body=json.dumps({"items": [job], "next": None}).encode()),
    )
    with Client(script.url) as client:
        jobs = client.jobs.list(state="queued", limit=2)
        next(jobs)
        next(jobs)
        assert len(script.seen) == 1
        assert len(list(jobs)) == 1
    assert script.seen[0].path == "/v1/jobs?state=queued&limit=2"
    assert script.seen[1].path == "/v1/jobs?state=queued&limit=2&after=c1"


def test_waiting_holds_the_line_and_tells_each_change(script: Script) -> None:
    script.say(
        Reply(200, request("queued"), {"ETag": '"1"'}),
        Reply(304, b"", {"ETag": '"1"'}),
        Reply(200, request("in_progress"), {"ETag": '"2"'}),
        Reply(200, request("completed"), {"ETag": '"3"'}),
    )
    states: list[str] = []
    with Client(script.url) as client:
        done = client.requests.wait("req_1", on_change=lambda r: states.append(r.state))
    assert done.finished
    assert states == ["queued", "in_progress", "completed"]
    assert [seen.path.partition("?")[2] for seen in script.seen] == ["", *["wait=30"] * 3]
    assert script.seen[1].headers["If-None-Match"] == '"1"'


def test_waiting_ends_after_its_timeout(script: Script) -> None:
    script.say(Reply(200, request("queued"), {"ETag": '"1"'}), Reply(304, b"", {"ETag": '"1"'}))
    with Client(script.url) as client, pytest.raises(WaitTimeout, match=r"still queued after 0\.3"):
        client.requests.wait("req_1", timeout=0.3)


def test_events_are_followed_across_a_lost_connection(script: Script) -> None:
    def event(seq: int) -> bytes:
        body = {
            "seq": seq,
            "at": "2026-03-04T09:00:00Z",
            "kind": "request.queued",
            "entity": "req_1",
            "actor": "key_1",
            "payload": {},
            "prev_hash": "0",
            "hash": "1",
        }
        return f": a comment\nid: {seq}\ndata: {json.dumps(body)}\n\n".encode()

    script.say(
        Reply(200, event(1) + event(2)), problem(503, "unavailable", "later"), Reply(200, event(3))
    )
    with Client(script.url) as client:
        events = client.ledger.follow()
        assert [next(events).seq for _ in range(3)] == [1, 2, 3]
        events.close()  # type: ignore[attr-defined]
    assert script.seen[1].headers["Last-Event-ID"] == "2"
    assert script.seen[2].headers["Last-Event-ID"] == "2"
