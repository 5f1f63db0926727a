"""An issuer's public keys: found by discovery, kept for a while, asked for again in moderation.

A token that names a key which is not there makes the keys be fetched again, because the issuer may
have rotated them; but not more often than `REFETCH_SECONDS`, whatever is sent.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from app.oidc.fetching import NotFetched

KEPT_SECONDS = 600.0
REFETCH_SECONDS = 30.0
DISCOVERY = "/.well-known/openid-configuration"
"""Where an issuer tells of itself, below its URL."""
_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}

ALGORITHMS = frozenset(
    f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)
) | {"EdDSA"}
"""Signatures by a private key: neither `none`, nor those that whoever verifies could make too."""

Jwk = Mapping[str, Any]


@dataclass(frozen=True)
class _Kept:
    keys: Sequence[Jwk]
    until: float


class IssuerKeys:
    """One issuer's keys; `fetch` gives the JSON object at a URL or raises `NotFetched`."""

    def __init__(
        self,
        issuer: str,
        fetch: Callable[[str], Mapping[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: _Kept | None = None
        self._next_fetch = float("-inf")
        self._failure = ""

    def find(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """The key that a token with this header was signed with; None where there is none.

        Raises NotFetched while the issuer's keys cannot be had.
        """
        kept = self._kept
        if kept is not None and self._clock() < kept.until:
            found = _pick(kept.keys, key_id, algorithm)
            if found is not None or self._clock() < self._next_fetch:
                return found
        with self._lock:
            return _pick(self._fresh(kept).keys, key_id, algorithm)

    def _fresh(self, known: _Kept | None) -> _Kept:
        """Other keys than the `known` ones, or those again where it is too early to ask."""
        kept = self._kept
        if kept is not None and kept is not known:
            return kept  # somebody else has just fetched them
        now = self._clock()
        in_force = kept is not None and now < kept.until
        if now >= self._next_fetch:
            self._next_fetch = now + REFETCH_SECONDS
            try:
                self._kept = kept = _Kept(self._fetched(), now + KEPT_SECONDS)
                return kept
            except NotFetched as error:
                self._failure = str(error)
        if kept is None or not in_force:
            raise NotFetched(self._failure)
        return kept

    def _fetched(self) -> Sequence[Jwk]:
        configuration = self._fetch(self._issuer.rstrip("/") + DISCOVERY)
        named = configuration.get("issuer")
        if named != self._issuer:
            raise NotFetched(f"the configuration of {self._issuer} is that of {named!r:.200}")
        location = configuration.get("jwks_uri")
        if not isinstance(location, str):
            raise NotFetched(f"the configuration of {self._issuer} has no jwks_uri")
        keys = self._fetch(location).get("keys")
        if not isinstance(keys, list):
            raise NotFetched(f"{location} holds no keys")
        return [key for key in keys if isinstance(key, dict)]


def _pick(keys: Sequence[Jwk], key_id: str | None, algorithm: str) -> PyJWK | None:
    """The one key that fits; a token without a key id must leave no choice."""
    fitting = [
        key
        for key in keys
        if (key_id is None or key.get("kid") == key_id) and _fits(key, algorithm)
    ]
    if len(fitting) != 1:
        return None
    try:
        return PyJWK(dict(fitting[0]), algorithm)
    except PyJWTError:
        return None


def _fits(key: Jwk, algorithm: str) -> bool:
    return (
        key.get("kty") == _KINDS.get(algorithm[:2])
        and key.get("alg") in (None, algorithm)
        and key.get("use") in (None, "sig")
        and _CURVES.get(algorithm) in (None, key.get("crv"))
    )
