"""How often one caller may call, and how often an address may fail to say who it is.

Counted in Redis where one is set, so that all processes count together; in this process alone while
Redis is away. The window slides: what was used up comes back bit by bit.
"""

import ipaddress
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import HTTPConnection

from app.problems import Problem
from app.settings import Settings

if TYPE_CHECKING:  # it takes a while to import, and most have no limits
    from limits import RateLimitItem
    from limits.strategies import SlidingWindowCounterRateLimiter

REQUESTS = "requests"
"""The policy for callers who are known."""
REFUSALS = "refusals"
"""The policy for addresses whose callers are not."""
_REDIS_SECONDS = 0.5
_AWAY_SECONDS = 5.0
"""How long Redis is left alone after it did not answer."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """What is left of a policy; `draft-ietf-httpapi-ratelimit-headers-10` in the headers."""

    policy: str
    quota: int
    window: int
    remaining: int
    reset: int
    """Seconds until there is more."""

    @property
    def headers(self) -> dict[str, str]:
        """As every answer to the caller has them."""
        return {
            "RateLimit-Policy": f'"{self.policy}";q={self.quota};w={self.window}',
            "RateLimit": f'"{self.policy}";r={self.remaining};t={self.reset}',
        }


class RateLimits(Collector):
    """The limits that the settings ask for; without any, everybody may do everything."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        amounts = {
            REQUESTS: settings.rate_limit_requests,
            REFUSALS: settings.rate_limit_refusals,
        }
        limited = {policy: amount for policy, amount in amounts.items() if amount is not None}
        self._items: dict[str, RateLimitItem] = {}
        self._clock = clock
        self._redis = self._here = None
        if limited:
            self._items = _items(limited, settings.rate_limit_seconds)
            self._here = _in_memory()
            if settings.rate_limit_redis_url is not None:
                self._redis = _in_redis(settings.rate_limit_redis_url)
        self._redis_is_away = False
        self._ask_redis_at = float("-inf")
        self._refused = Counter(dict.fromkeys(self._items, 0))

    @property
    def asks_redis(self) -> bool:
        """Whether counting may have to wait for an answer."""
        return self._redis is not None

    def take(self, caller: str) -> Standing | None:
        """Count one request of a caller; 429 where it is one too many, None without a limit."""
        item = self._items.get(REQUESTS)
        if item is None:
            return None
        allowed, standing = self._ask(
            lambda by: by.hit(item, REQUESTS, caller), item, REQUESTS, caller
        )
        if not allowed:
            raise self._too_many(standing, f"more than {item.amount} requests")
        return standing

    @contextmanager
    def finding_out(self, address: str) -> Iterator[None]:
        """Around finding out who calls: 429 where that failed too often from this address.

        A Problem 401 that leaves the block is counted.
        """
        item = self._items.get(REFUSALS)
        if item is None:
            yield
            return
        allowed, standing = self._ask(
            lambda by: by.test(item, REFUSALS, address), item, REFUSALS, address
        )
        if not allowed:
            raise self._too_many(
                standing, f"more than {item.amount} failed attempts to authenticate"
            )
        try:
            yield
        except Problem as problem:
            if problem.status == 401:
                self._ask(lambda by: by.hit(item, REFUSALS, address), item, REFUSALS, address)
            raise

    def collect(self) -> Iterator[Metric]:
        """What this process has refused, and whether it counts together with the others."""
        refused = CounterMetricFamily(
            "expunge_rate_limited", "Requests refused with 429 by this process", labels=["policy"]
        )
        for policy, count in self._refused.items():
            refused.add_metric([policy], count)
        yield refused
        up = GaugeMetricFamily(
            "expunge_rate_limit_redis_up",
            "Whether Redis counts for the rate limits; 0 while this process counts alone",
        )
        if self._redis is not None:
            up.add_metric([], not self._redis_is_away)
        yield up

    def _ask(
        self,
        question: "Callable[[SlidingWindowCounterRateLimiter], bool]",
        item: "RateLimitItem",
        policy: str,
        who: str,
    ) -> tuple[bool, Standing]:
        from limits.errors import StorageError  # noqa: PLC0415

        if self._redis is not None and self._clock() >= self._ask_redis_at:
            try:
                answer = question(self._redis), _standing(self._redis, item, policy, who)
            except StorageError as error:
                self._ask_redis_at = self._clock() + _AWAY_SECONDS
                if not self._redis_is_away:
                    _log.warning("rate limits: each process counts alone, Redis is away: %s", error)
                self._redis_is_away = True
            else:
                if self._redis_is_away:
                    _log.warning("rate limits: Redis counts again")
                self._redis_is_away = False
                return answer
        assert self._here is not None
        return question(self._here), _standing(self._here, item, policy, who)

    def _too_many(self, standing: Standing, what: str) -> Problem:
        self._refused[standing.policy] += 1
        return Problem(
            429,
            "rate-limited",
            f"{what} in {standing.window} s: try again in {standing.reset} s",
            headers=standing.headers | {"Retry-After": str(standing.reset)},
        )


def address_of(connection: HTTPConnection) -> str:
    """Where a call comes from; of IPv6 the network, which one caller has whole."""
    host = connection.client.host if connection.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "unknown"
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))


def _standing(
    by: "SlidingWindowCounterRateLimiter", item: "RateLimitItem", policy: str, who: str
) -> Standing:
    found = by.get_window_stats(item, policy, who)
    window = item.get_expiry()
    wait = math.ceil(found.reset_time - time.time())
    return Standing(policy, item.amount, window, found.remaining, min(max(wait, 1), window))


def _items(limited: Mapping[str, int], seconds: int) -> "dict[str, RateLimitItem]":
    from limits import RateLimitItemPerSecond  # noqa: PLC0415

    return {
        policy: RateLimitItemPerSecond(amount, seconds, "expunge")
        for policy, amount in limited.items()
    }


def _in_memory() -> "SlidingWindowCounterRateLimiter":
    from limits.storage import MemoryStorage  # noqa: PLC0415
    from limits.strategies import SlidingWindowCounterRateLimiter  # noqa: PLC0415

    return SlidingWindowCounterRateLimiter(MemoryStorage())


def _in_redis(url: str) -> "SlidingWindowCounterRateLimiter":
    """Asked once and briefly: whoever calls is waiting."""
    from limits.storage import RedisStorage  # noqa: PLC0415
    from limits.strategies import SlidingWindowCounterRateLimiter  # noqa: PLC0415
    from redis import ConnectionPool  # noqa: PLC0415 - takes a while, and most have no Redis
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    pool = ConnectionPool.from_url(
        url,
        socket_timeout=_REDIS_SECONDS,
        socket_connect_timeout=_REDIS_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    storage = RedisStorage(url, connection_pool=pool, key_prefix="expunge", wrap_exceptions=True)
    return SlidingWindowCounterRateLimiter(storage)
