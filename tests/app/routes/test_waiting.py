import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from carried_out import carry_out, claim_next
from running_service import Registered, Service

URL = "/v1/deletion-requests"


def make(client: httpx.Client, model: Registered) -> str:
    made = client.post(URL, json={"model": model.name, "instances": ["i-0"]}).json()["id"]
    return f"{URL}/{made}"


def test_an_answer_is_held_until_the_request_changes(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    url = make(client, registered)
    etag = client.get(url).headers["ETag"]
    with ThreadPoolExecutor(2) as pool:
        start = time.monotonic()
        headers = {"If-None-Match": etag}
        waiting = pool.submit(client.get, url, params={"wait": 30}, headers=headers)
        plain = pool.submit(client.get, url, params={"wait": 30})
        time.sleep(0.6)
        assert not waiting.done()
        assert not plain.done()
        claim_next(service.database)
        for answer in (waiting.result(10), plain.result(10)):
            assert (answer.status_code, answer.json()["state"]) == (200, "in_progress")
            assert answer.headers["ETag"] != etag
        assert time.monotonic() - start < 15


def test_what_already_differs_or_is_finished_is_answered_at_once(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    url = make(client, registered)
    start = time.monotonic()
    other = client.get(url, params={"wait": 30}, headers={"If-None-Match": '"0"'})
    assert other.json()["state"] == "queued"
    carry_out(service.parts)
    assert client.get(url, params={"wait": 30}).json()["state"] == "completed"
    assert time.monotonic() - start < 10


def test_what_stays_as_it_is_answers_304_or_the_same_state(
    client: httpx.Client, registered: Registered
) -> None:
    url = make(client, registered)
    etag = client.get(url).headers["ETag"]
    headers = {"If-None-Match": f'W/"x", {etag}'}
    unchanged = client.get(url, headers=headers)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["ETag"] == etag
    start = time.monotonic()
    assert client.get(url, params={"wait": 1}, headers=headers).status_code == 304
    assert client.get(url, params={"wait": 0.5}).json()["state"] == "queued"
    assert time.monotonic() - start >= 1.5


def test_many_can_wait_without_holding_up_anybody_else(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    url = make(client, registered)
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(client.get, url, params={"wait": 30}) for _ in range(60)]
        time.sleep(0.5)
        start = time.monotonic()
        assert client.get("/healthz").status_code == 200
        assert time.monotonic() - start < 5
        claim_next(service.database)
        assert {answer.result(30).json()["state"] for answer in waiting} == {"in_progress"}


def test_an_answer_about_an_alias_is_held_until_it_is_moved(
    service: Service, client: httpx.Client, registered: Registered
) -> None:
    alias = f"/v1/models/{registered.name}/aliases/production"
    first = client.get(alias)
    known = {"If-None-Match": first.headers["ETag"]}
    make(client, registered)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.get, alias, params={"wait": 30}, headers=known)
        time.sleep(0.6)
        assert not waiting.done()
        carry_out(service.parts)
        moved = waiting.result(20)
    assert moved.json()["revision"] == first.json()["revision"] + 1
    assert client.get(alias, params={"wait": 30}, headers=known).json() == moved.json()
    known = {"If-None-Match": moved.headers["ETag"]}
    unchanged = client.get(alias, params={"wait": 0.5}, headers=known)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert client.get(f"{alias}x", params={"wait": 30}).status_code == 404
    assert client.get(alias, params={"wait": 61}).status_code == 422
