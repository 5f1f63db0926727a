"""Tokens: whether a trusted issuer signed one for this service, and what it says."""

from collections.abc import Mapping
from typing import Any

import jwt
from jwt import PyJWK
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    MissingRequiredClaimError,
    PyJWTError,
)

from app.oidc.issuer_keys import ALGORITHMS
from app.oidc.trust import TrustedIssuer

_LEEWAY_SECONDS = 30
"""How far two clocks may be apart."""
_LONGEST = 16_384


class TokenRefused(Exception):
    """Nobody is let in by it; the message says why, and names nothing of the token's content."""


def header_of(token: str) -> tuple[str, str | None]:
    """The algorithm, which is one of those allowed, and the key's id: not verified yet."""
    if len(token) > _LONGEST:
        raise TokenRefused(f"the token is longer than {_LONGEST} characters")
    try:
        header = jwt.get_unverified_header(token)
    except (PyJWTError, RecursionError):
        raise TokenRefused("the token cannot be read") from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused("the token's signature algorithm is not allowed")
    return algorithm, key_id


def issuer_of(token: str) -> str | None:
    """Who the token says has issued it: not verified yet."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (PyJWTError, RecursionError):
        raise TokenRefused("the token cannot be read") from None
    issuer = claims.get("iss")
    return issuer if isinstance(issuer, str) else None


def verified(
    token: str, key: PyJWK, algorithm: str, trust: TrustedIssuer, audience: str
) -> Mapping[str, Any]:
    """The claims of a token that `key` signed, that is in force and meant for this audience."""
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            issuer=trust.issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["iss", "aud", "exp", "sub"], "enforce_minimum_key_length": True},
        )
    except ExpiredSignatureError:
        raise TokenRefused("the token has expired") from None
    except ImmatureSignatureError:
        raise TokenRefused("the token is not in force yet") from None
    except InvalidAudienceError:
        raise TokenRefused("the token was issued for another audience") from None
    except MissingRequiredClaimError as error:
        raise TokenRefused(f"the token lacks the claim {error.claim}") from None
    except (PyJWTError, RecursionError):
        raise TokenRefused("the token cannot be verified") from None
    return claims
