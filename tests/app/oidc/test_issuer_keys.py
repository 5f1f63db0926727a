"""Keys are kept, rotated, and asked for in moderation."""

from collections.abc import Callable

import jwt
import pytest

from app.oidc.fetching import NotFetched, fetch_json
from app.oidc.issuer_keys import KEPT_SECONDS, REFETCH_SECONDS, IssuerKeys
from token_issuer import AUDIENCE, Issuer, new_key, public_jwk


class Clock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(issuer: Issuer, clock: Clock) -> IssuerKeys:
    return IssuerKeys(issuer.url, lambda url: fetch_json(url, allow_loopback=True), clock)


def test_keys_are_fetched_once_and_again_when_their_time_is_over(
    issuer: Issuer, keys: IssuerKeys, clock: Clock
) -> None:
    for _ in range(3):
        assert keys.find("first", "RS256") is not None
    assert issuer.fetches == 1
    clock.now = KEPT_SECONDS + 1
    assert keys.find("first", "RS256") is not None
    assert issuer.fetches == 2


def test_a_rotated_key_is_found_and_the_former_one_is_gone(
    issuer: Issuer, keys: IssuerKeys, clock: Clock
) -> None:
    assert keys.find("first", "RS256") is not None
    issuer.rotate("second", "ES256")
    clock.now = REFETCH_SECONDS + 1
    assert keys.find("second", "ES256") is not None
    assert keys.find("first", "RS256") is None


def test_unknown_key_ids_do_not_make_it_ask_all_the_time(
    issuer: Issuer, keys: IssuerKeys, clock: Clock
) -> None:
    for number in range(20):
        assert keys.find(f"unknown-{number}", "RS256") is None
    assert issuer.fetches == 1
    clock.now = REFETCH_SECONDS + 1
    for number in range(20):
        assert keys.find(f"unknown-{number}", "RS256") is None
    assert issuer.fetches == 2


def test_while_the_issuer_is_away_kept_keys_count_and_overdue_ones_do_not(
    issuer: Issuer, keys: IssuerKeys, clock: Clock
) -> None:
    assert keys.find("first", "RS256") is not None
    issuer.is_away = True
    clock.now = REFETCH_SECONDS + 1
    assert keys.find("unknown", "RS256") is None
    assert keys.find("first", "RS256") is not None
    clock.now = KEPT_SECONDS + 1
    with pytest.raises(NotFetched, match="503"):
        keys.find("first", "RS256")
    asked = len(issuer.server.seen)
    with pytest.raises(NotFetched, match="503"):
        keys.find("first", "RS256")
    assert len(issuer.server.seen) == asked
    issuer.is_away = False
    clock.now += REFETCH_SECONDS + 1
    assert keys.find("first", "RS256") is not None


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"]
)
def test_every_allowed_algorithm_verifies_by_its_own_kind_of_key(
    issuer: Issuer, keys: IssuerKeys, algorithm: str
) -> None:
    issuer.rotate("only", algorithm)
    key = keys.find("only", algorithm)
    assert key is not None
    claims = jwt.decode(issuer.token(), key, [algorithm], audience=AUDIENCE)
    assert claims["sub"] == "alice"
    others = {"RS256", "PS512", "ES256", "EdDSA"} - {algorithm}
    assert [keys.find("only", other) for other in others] == [None] * len(others)


def test_a_token_without_a_key_id_must_leave_no_choice(issuer: Issuer, keys: IssuerKeys) -> None:
    issuer.published.append(public_jwk(new_key("ES256"), "ES256"))
    assert keys.find(None, "RS256") is not None
    assert keys.find(None, "ES256") is not None


def test_keys_for_encryption_secrets_and_broken_ones_are_passed_over(
    issuer: Issuer, keys: IssuerKeys
) -> None:
    good = issuer.published[0]
    issuer.published = [
        good | {"kid": "for-encryption", "use": "enc"},
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "broken", "n": "AQ"},
        {"kid": "nothing"},
        good | {"kid": "twice"},
        good | {"kid": "twice"},
    ]
    for key_id in ("for-encryption", "secret", "broken", "nothing", "twice", None):
        assert keys.find(key_id, "RS256") is None


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda i: i.configuration.update(issuer="https://other.example"), "is that of"),
        (lambda i: i.configuration.pop("jwks_uri"), "no jwks_uri"),
        (lambda i: i.configuration.update(jwks_uri="http://169.254.169.254/x"), "not asked"),
        (lambda i: i.configuration.update(jwks_uri="file:///etc/passwd"), "not asked"),
    ],
)
def test_a_configuration_that_leads_elsewhere_is_not_followed(
    issuer: Issuer, keys: IssuerKeys, spoil: Callable[[Issuer], None], why: str
) -> None:
    spoil(issuer)
    with pytest.raises(NotFetched, match=why):
        keys.find("first", "RS256")


def test_loopback_is_asked_only_where_that_is_allowed(issuer: Issuer) -> None:
    with pytest.raises(NotFetched, match="must begin with https"):
        fetch_json(issuer.url, allow_loopback=False)
