"""Which tokens let somebody in, and which do not."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest

from running_service import Service
from token_issuer import AUDIENCE, Issuer, new_key, public_jwk, who


def test_a_token_of_a_trusted_issuer_lets_its_bearer_in(
    trusting: Service, shared_issuer: Issuer
) -> None:
    answer = who(trusting, shared_issuer.token(scope="requests:write versions:read"))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["tenant"] == "ten_default"
    assert told["scopes"] == ["requests:write", "versions:read"]
    assert (told["issuer"], told["subject"]) == (shared_issuer.url, "alice")
    assert told["principal"].startswith("oidc:127.0.0.1:sub_")
    assert "alice" not in told["principal"]
    assert who(trusting, shared_issuer.token()).json()["principal"] == told["principal"]
    assert who(trusting, shared_issuer.token(sub="bob")).json()["principal"] != told["principal"]


def test_api_keys_work_beside_tokens(trusting: Service) -> None:
    told = who(trusting, trusting.admin_key).json()
    assert (told["issuer"], told["subject"], told["scopes"]) == (None, None, ["admin"])


NOW = int(time.time())


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": NOW - 120}, "expired"),
        ({"exp": None}, "lacks the claim exp"),
        ({"nbf": NOW + 7200}, "not in force yet"),
        ({"iat": NOW + 7200}, "not in force yet"),
        ({"aud": "https://elsewhere.example"}, "another audience"),
        ({"aud": None}, "lacks the claim aud"),
        ({"sub": None}, "lacks the claim sub"),
        ({"sub": 7}, "cannot be verified"),
        ({"sub": ""}, "ASCII"),
        ({"sub": "x" * 256}, "ASCII"),
        ({"sub": "zo\u00eb"}, "ASCII"),
        ({"sub": "a\x00b"}, "ASCII"),
        ({"iss": "https://stranger.example"}, "not trusted"),
        ({"iss": None}, "not trusted"),
        ({"filler": "x" * 20_000}, "longer"),
    ],
)
def test_a_token_that_is_not_in_force_or_not_for_us_is_refused(
    trusting: Service, shared_issuer: Issuer, claims: dict[str, Any], why: str
) -> None:
    answer = who(trusting, shared_issuer.token(**claims))
    assert answer.status_code == 401
    assert why in answer.json()["detail"]
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_clocks_may_differ_by_some_seconds(trusting: Service, shared_issuer: Issuer) -> None:
    now = int(time.time())
    assert who(trusting, shared_issuer.token(nbf=now + 10, iat=now + 10)).status_code == 200


def test_a_list_of_audiences_may_hold_ours(trusting: Service, shared_issuer: Issuer) -> None:
    assert who(trusting, shared_issuer.token(aud=["other", AUDIENCE])).status_code == 200


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def _forged(token: str, position: int, content: dict[str, Any]) -> str:
    parts = token.split(".")
    parts[position] = _part(content)
    return ".".join(parts)


def test_a_token_that_nobody_signed_or_that_was_altered_is_refused(
    trusting: Service, shared_issuer: Issuer
) -> None:
    token = shared_issuer.token(scope="versions:read")
    claims = jwt.decode(token, options={"verify_signature": False})
    head, body, signature = token.split(".")
    other = "A" if signature[10] != "A" else "B"
    confused = f"{_part({'alg': 'HS256', 'kid': 'first'})}.{body}"
    public = json.dumps(shared_issuer.published[0])  # the secret, for who takes it for one
    mac = hmac.digest(public.encode(), confused.encode(), "sha256")
    for wrong in (
        f"{_part({'alg': 'none', 'kid': 'first'})}.{body}.",
        f"{_part({'alg': 'None'})}.{body}.{signature}",
        _forged(token, 0, {"alg": "RS384", "kid": "first"}),
        _forged(token, 0, {"alg": "PS256", "kid": "first"}),
        _forged(token, 0, {"alg": "ES256", "kid": "first"}),
        _forged(token, 0, {"alg": ["RS256"], "kid": "first"}),
        _forged(token, 0, {"alg": "RS256", "kid": ["first"]}),
        _forged(token, 0, {"alg": "RS256", "kid": "first", "crit": ["x"], "x": 1}),
        _forged(token, 1, claims | {"scope": "versions:read admin"}),
        f"{head}.{body}.{signature[:10]}{other}{signature[11:]}",
        f"{head}.{body}.",
        "..",
        "a.b.c",
        f"{_part({'alg': 'RS256'})}.{'W1tb' * 3000}.{signature}",
        f"{confused}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}",
    ):
        answer = who(trusting, wrong)
        assert answer.status_code == 401, (wrong, answer.text)


def test_a_key_in_the_tokens_own_header_counts_for_nothing(
    trusting: Service, shared_issuer: Issuer
) -> None:
    key = new_key("ES256")
    now = int(time.time())
    claims = {"iss": shared_issuer.url, "aud": AUDIENCE, "sub": "mallory", "exp": now + 600}
    header = {"kid": "first", "jwk": public_jwk(key, "ES256"), "jku": "https://evil.example/keys"}
    answer = who(trusting, jwt.encode(claims, key, "ES256", headers=header))
    assert answer.status_code == 401


def test_where_no_issuer_is_trusted_a_token_is_an_unknown_key(
    shared_service: Service, shared_issuer: Issuer
) -> None:
    answer = who(shared_service, shared_issuer.token())
    assert answer.status_code == 401
    assert "key is not known" in answer.json()["detail"]
