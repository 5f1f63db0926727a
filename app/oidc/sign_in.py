"""Signing in at an issuer: OpenID Connect's authorization code with PKCE, state and nonce.

A browser leaves for the issuer with an `Attempt` in its keeping and comes back with a code, which
is exchanged for tokens. The ID token tells that this attempt is meant; what its holder may do
follows from the access token, read as that of any other caller.
"""

import base64
import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from app.auth import Principal, is_token, refused
from app.oidc.callers import KnownIssuer, OidcCallers
from app.oidc.fetching import NotFetched
from app.oidc.issuer_keys import DISCOVERY
from app.oidc.tokens import TokenRefused
from app.problems import Problem, Unavailable

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """What must be the same when a browser comes back."""

    issuer: str
    state: str
    nonce: str
    verifier: str


def begin(callers: OidcCallers, issuer: str, redirect_uri: str) -> tuple[str, Attempt]:
    """Where to send the browser, and what it has to keep; 404 for an issuer without a client."""
    known = _with_client(callers, issuer)
    attempt = Attempt(issuer, *(secrets.token_urlsafe(32) for _ in range(3)))
    challenge = hashlib.sha256(attempt.verifier.encode()).digest()
    asked = {
        "response_type": "code",
        "client_id": known.trust.client_id,
        "redirect_uri": redirect_uri,
        "scope": known.trust.client_scope,
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    address = _endpoint(known, "authorization_endpoint")
    joint = "&" if urlsplit(address).query else "?"
    return f"{address}{joint}{urlencode(asked)}", attempt


def finish(
    callers: OidcCallers, attempt: Attempt, state: str, code: str, redirect_uri: str
) -> Principal:
    """Who came back; 401 for whoever is not let in, 503 while the issuer cannot be asked."""
    if not hmac.compare_digest(state.encode(), attempt.state.encode()):
        raise refused("this sign-in was begun elsewhere: try again")
    known = _with_client(callers, attempt.issuer)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "client_id": str(known.trust.client_id),
        "code_verifier": attempt.verifier,
    }
    try:
        told = known.ask(_endpoint(known, "token_endpoint"), form=form, auth=_secret(known))
    except NotFetched as error:
        _log.warning("a code could not be exchanged: %s", error)
        raise refused("the identity provider did not confirm this sign-in: try again") from None
    id_token, access_token = told.get("id_token"), told.get("access_token")
    if not isinstance(id_token, str) or not isinstance(access_token, str):
        raise refused("the identity provider gave no ID token and access token")
    if not is_token(access_token):
        raise refused("the identity provider's access token is no JWT: it tells nothing here")
    subject = _subject(callers, known, attempt, id_token)
    principal = callers.identify(access_token)
    if (principal.issuer, principal.subject) != (attempt.issuer, subject):
        raise refused("the identity provider's tokens are of two people")
    return principal


def _subject(callers: OidcCallers, known: KnownIssuer, attempt: Attempt, id_token: str) -> str:
    """Whom the ID token was made out to, for this client and in this attempt."""
    client = str(known.trust.client_id)
    try:
        trust, claims = callers.claims(id_token, audience=client)
    except TokenRefused as refusal:
        raise refused(f"ID token: {refusal}") from None
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(
        nonce.encode(), attempt.nonce.encode()
    ):
        raise refused("the ID token was not made for this sign-in")
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if several else client) != client or trust != known.trust:
        raise refused("the ID token was made for another client")
    return str(claims["sub"])


def _with_client(callers: OidcCallers, issuer: str) -> KnownIssuer:
    known = callers.known(issuer)
    if known is None or known.trust.client_id is None:
        raise Problem(404, "not-found", "nobody signs in at this issuer")
    return known


def _endpoint(known: KnownIssuer, name: str) -> str:
    """An address from the issuer's configuration; 503 while that cannot be had."""
    issuer = known.trust.issuer
    try:
        configuration = known.ask(issuer.rstrip("/") + DISCOVERY)
    except NotFetched as error:
        _log.warning("configuration of an issuer: %s", error)
        raise Unavailable("the identity provider cannot be reached", retry_after=30) from None
    address = configuration.get(name)
    schemes = ("https", urlsplit(issuer).scheme)
    if configuration.get("issuer") != issuer or not isinstance(address, str):
        raise Unavailable(f"the identity provider tells no {name}", retry_after=30)
    if urlsplit(address).scheme not in schemes:
        raise Unavailable(f"the identity provider's {name} is not under https", retry_after=30)
    return address


def _secret(known: KnownIssuer) -> tuple[str, str] | None:
    """What a confidential client shows, as RFC 6749 has it encoded; None of a public one."""
    file = known.trust.client_secret_file
    if file is None:
        return None
    try:
        secret = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        _log.error("%s cannot be read: %s", file, error)
        raise Unavailable("the client's secret cannot be read", retry_after=60) from None
    return quote(str(known.trust.client_id), safe=""), quote(secret, safe="")
