"""One attempt of one delivery: a signed POST to a checked address, within a time limit."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from ssl import SSLContext
from typing import TYPE_CHECKING

from app.webhooks.addresses import AddressRefused, pinned
from expunge.webhooks import sign

if TYPE_CHECKING:  # the service only queues what workers send
    import httpx

_MOST_READ = 1000
"""Bytes of an answer that are kept; the rest is not waited for."""
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_DIGITS = 9


@dataclass(frozen=True)
class Message:
    """What is sent."""

    id: str
    url: str
    body: bytes
    keys: Sequence[bytes]
    """The body is signed with each, after Standard Webhooks; without any, it is not."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent besides."""


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt."""

    status: int | None
    """None where there was no answer."""
    answer: str
    """Its beginning, or why there was none."""
    retry_after: float | None = None
    """Seconds that a receiver that had too much to do asked to be left alone for."""

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and 200 <= self.status < 300


async def send(message: Message, *, timeout: float, allow_loopback: bool) -> Outcome:
    """What came of it, whatever it was; a redirect is an answer and is not followed."""
    import httpx  # noqa: PLC0415

    try:
        async with asyncio.timeout(timeout):
            return await _post(message, timeout, allow_loopback)
    except TimeoutError:
        return Outcome(None, f"no answer within {timeout:g} s")
    except AddressRefused as refusal:
        return Outcome(None, f"not sent: {refusal}")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return Outcome(None, f"no connection: {str(error) or type(error).__name__:.500}")


async def _post(message: Message, timeout: float, allow_loopback: bool) -> Outcome:
    import httpx  # noqa: PLC0415

    target = await asyncio.to_thread(pinned, message.url, allow_loopback=allow_loopback)
    timestamp = int(time.time())
    headers = {
        **target.headers,
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "expunge-webhooks",
        **message.headers,
    }
    if message.keys:
        headers |= {
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(
                sign(key, message.id, timestamp, message.body) for key in message.keys
            ),
        }
    # The connection goes to the address, and the certificate must be the name's.
    async with (
        httpx.AsyncClient(verify=trusted(), trust_env=False, timeout=timeout) as client,
        client.stream(
            "POST",
            target.url,
            content=message.body,
            headers=headers,
            extensions=target.extensions,
            follow_redirects=False,
        ) as response,
    ):
        asked = _retry_after(response) if response.status_code in _BUSY else None
        return Outcome(response.status_code, await _beginning(response), asked)


def _retry_after(response: "httpx.Response") -> float | None:
    """RFC 9110's `Retry-After`, seconds or a date; None where it says nothing to go by."""
    told = response.headers.get("retry-after", "").strip()
    if told.isascii() and told.isdecimal():
        return float(told[:_DIGITS])
    try:
        return max(parsedate_to_datetime(told).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


async def _beginning(response: "httpx.Response") -> str:
    import httpx  # noqa: PLC0415

    read = b""
    try:
        async for chunk in response.aiter_raw(_MOST_READ):
            read += chunk
            if len(read) >= _MOST_READ:
                break
    except httpx.HTTPError:
        pass  # the status has come, and it alone decides
    return read[:_MOST_READ].decode(errors="replace").replace("\x00", "\ufffd")


@cache
def trusted() -> SSLContext:
    """The authorities that vouch for receivers: `SSL_CERT_FILE`, or certifi's."""
    import httpx  # noqa: PLC0415

    return httpx.create_ssl_context()
