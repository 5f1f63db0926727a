"""Answers that are held until something changes: long polling, without a thread for who waits."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from app.shutdown import stopping

T = TypeVar("T")

LONGEST_WAIT = 60
_LOOK_AGAIN = 0.25
"""Seconds between two looks at what somebody waits for."""


async def held(http: Request, wait: float, look: Callable[[], T], waits: Callable[[T], bool]) -> T:
    """What `look` finds once that is nothing to wait for any more, or after `wait` seconds.

    Sooner where the caller has gone or the service is about to stop.
    """
    until = time.monotonic() + wait
    seen = await run_in_threadpool(look)
    while (
        waits(seen)
        and time.monotonic() < until
        and not stopping()
        and not await http.is_disconnected()
    ):
        await asyncio.sleep(min(_LOOK_AGAIN, max(0.0, until - time.monotonic())))
        seen = await run_in_threadpool(look)
    return seen


def known_tags(if_none_match: str | None) -> set[str]:
    """The bare tags of an If-None-Match header; `W/` makes no difference to it (RFC 9110)."""
    tags = (tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(","))
    return {tag[1:-1] for tag in tags if len(tag) > 1 and tag[0] == tag[-1] == '"'}
