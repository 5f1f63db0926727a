"""Standard Webhooks (https://www.standardwebhooks.com): signing deliveries and checking them.

A receiver calls `verify` with the body byte for byte as it came, before it reads it.
"""

import base64
import binascii
import hmac
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from expunge.errors import WebhookInvalid

if TYPE_CHECKING:  # who only signs needs none of the answers' classes
    from expunge.answers import Event

_PREFIX: Final = "whsec_"


def encode_secret(key: bytes) -> str:
    """A secret as people see it: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(key).decode()


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()


def verify(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance: float = 300,
    now: float | None = None,
) -> "Event":
    """The event that was delivered; raises WebhookInvalid unless it was signed with `secret`.

    `tolerance` is how many seconds the signed time may lie from `now`, so that a delivery that
    somebody recorded cannot be sent again later. Keep `webhook-id`: an event may come twice.
    """
    given = {name.lower(): value for name, value in headers.items()}
    missing = [
        n for n in ("webhook-id", "webhook-timestamp", "webhook-signature") if n not in given
    ]
    if missing:
        raise WebhookInvalid(f"the header {missing[0]} is missing")
    timestamp = given["webhook-timestamp"]
    if not timestamp.isascii() or not timestamp.isdecimal() or len(timestamp) > 15:
        raise WebhookInvalid(f"webhook-timestamp {timestamp!r:.40} is no time in seconds")
    right = sign(_key(secret), given["webhook-id"], int(timestamp), body).encode()
    signatures = given["webhook-signature"].split(" ")
    if not any(hmac.compare_digest(right, one.encode()) for one in signatures):
        raise WebhookInvalid("no signature is right for this secret, these headers and this body")
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance:
        raise WebhookInvalid(f"it was signed more than {tolerance:g} s from now")
    from expunge.answers import Event  # noqa: PLC0415

    try:
        return Event.model_validate_json(body)
    except ValidationError:
        raise WebhookInvalid("the body is signed but is no event") from None


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise WebhookInvalid("the secret must be whsec_ and base64, as it was shown") from None
