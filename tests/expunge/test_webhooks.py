"""A receiver's check of a delivery."""

import base64
import json
import time

import pytest

from expunge.errors import WebhookInvalid
from expunge.webhooks import encode_secret, sign, verify

KEY = bytes(range(32))
SECRET = encode_secret(KEY)
EVENT = {
    "seq": 3,
    "at": "2026-03-04T09:00:00.000000Z",
    "kind": "request.completed",
    "entity": "req_1",
    "actor": "key_1",
    "payload": {},
    "rows": None,
    "prev_hash": "0" * 64,
    "hash": "1" * 64,
}
BODY = json.dumps(EVENT).encode()


def headers(body: bytes = BODY, at: int | None = None, key: bytes = KEY) -> dict[str, str]:
    at = int(time.time()) if at is None else at
    return {
        "Webhook-Id": "dlv_1",
        "Webhook-Timestamp": str(at),
        "Webhook-Signature": sign(key, "dlv_1", at, body),
    }


def test_the_published_example_of_the_standard_verifies() -> None:
    """https://github.com/standard-webhooks/standard-webhooks, its libraries' common test."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_was_signed_is_the_event() -> None:
    assert verify(SECRET, headers(), BODY).kind == "request.completed"


def test_one_right_signature_among_several_is_enough() -> None:
    given = headers()
    given["Webhook-Signature"] = f"v1a,x v1,wrong {given['Webhook-Signature']}"
    assert verify(SECRET, given, BODY).seq == 3


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
def test_every_header_is_needed_and_counts(name: str) -> None:
    given = headers()
    with pytest.raises(WebhookInvalid, match="is missing"):
        verify(SECRET, {n: v for n, v in given.items() if n != name}, BODY)
    with pytest.raises(WebhookInvalid):
        verify(SECRET, given | {name: given[name] + "1"}, BODY)
    with pytest.raises(WebhookInvalid):
        verify(SECRET, given | {name: "\u00e9"}, BODY)


def test_every_byte_of_the_body_counts() -> None:
    for n in range(len(BODY)):
        forged = BODY[:n] + bytes([BODY[n] ^ 1]) + BODY[n + 1 :]
        with pytest.raises(WebhookInvalid, match="no signature is right"):
            verify(SECRET, headers(), forged)


def test_another_secret_verifies_nothing() -> None:
    with pytest.raises(WebhookInvalid):
        verify(encode_secret(bytes(32)), headers(), BODY)
    with pytest.raises(WebhookInvalid, match="whsec_"):
        verify("whsec_?", headers(), BODY)


@pytest.mark.parametrize("late", [-301, 301])
def test_what_was_signed_long_ago_or_in_the_future_is_refused(late: int) -> None:
    with pytest.raises(WebhookInvalid, match="more than 300 s"):
        verify(SECRET, headers(at=1000), BODY, now=1000 + late)
    assert verify(SECRET, headers(at=1000), BODY, now=1000 + late / 2)


def test_what_is_signed_but_is_no_event_is_refused() -> None:
    with pytest.raises(WebhookInvalid, match="no event"):
        verify(SECRET, headers(b"{}"), b"{}")
