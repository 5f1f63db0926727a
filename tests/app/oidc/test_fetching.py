"""An issuer's JSON is fetched with care."""

import pytest

from app.oidc.fetching import NotFetched, fetch_json
from scripted_server import Reply, scripted


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(302, b"", {"Location": "http://127.0.0.1:1/"}), "answered 302"),
        (Reply(200, b"<html>"), "JSON"),
        (Reply(200, b"[1]"), "JSON object"),
        (Reply(200, b"[" * 100_000), "JSON"),
        (Reply(200, b" " * 600_000), "more than 500000 bytes"),
        (Reply(200, b'{"a": 1}', cut=3), "http://127.0.0.1"),
    ],
)
def test_what_is_no_json_object_is_named(reply: Reply, why: str) -> None:
    with scripted() as server:
        server.say(reply)
        with pytest.raises(NotFetched, match=why):
            fetch_json(server.url, allow_loopback=True)
