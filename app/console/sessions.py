"""Who is looking at the console: a signed cookie that names an API key, never the key itself.

The cookie is `SameSite=Strict` and `HttpOnly`; the key that it names is looked up again for every
page, so that revoking the key ends the session. A person who signed in at an issuer is named with
what they may do, for an hour, as nobody tells when the issuer changes its mind. Forms carry a token
bound to a second cookie; whoever is away at an issuer, an attempt in a third.
"""

import base64
import hmac
import json
import secrets
import time
from collections.abc import Collection, Sequence
from typing import Any, Literal

from fastapi import Request, Response
from sqlalchemy.orm import Session

from app.auth import KeyHasher, Principal, authenticate
from app.db import database_now
from app.tables import ApiKey, Tenant

SESSION_COOKIE = "expunge_console"
FORM_COOKIE = "expunge_console_form"
ATTEMPT_COOKIE = "expunge_console_attempt"
LIFETIME_SECONDS = 8 * 3600
PERSON_SECONDS = 3600
ATTEMPT_SECONDS = 600
_PATH = "/console"
_PERSON = "oidc-"
"""No API key's id begins so."""


def sign_in(
    session: Session, hasher: KeyHasher, key: str, response: Response, secure: bool
) -> None:
    """Set the cookie for whoever shows an API key in force; Problem 401 otherwise."""
    principal = authenticate(session, hasher, key)
    value = _sealed(hasher, "session", principal.name, LIFETIME_SECONDS)
    _set(response, SESSION_COOKIE, value, secure)


def let_in(hasher: KeyHasher, principal: Principal, response: Response, secure: bool) -> None:
    """Set the cookie for a person who signed in at an issuer."""
    told = [principal.issuer, principal.tenant_id, principal.name, sorted(principal.scopes)]
    value = _sealed(hasher, "session", _PERSON + _packed(told), PERSON_SECONDS)
    _set(response, SESSION_COOKIE, value, secure, PERSON_SECONDS)


def keep_attempt(
    hasher: KeyHasher, attempt: Sequence[str], response: Response, secure: bool
) -> None:
    """Give the browser what it must have when it comes back from an issuer.

    It comes from another site, and brings no cookie that is `Strict`.
    """
    value = _sealed(hasher, "attempt", _packed(attempt), ATTEMPT_SECONDS)
    _set(response, ATTEMPT_COOKIE, value, secure, ATTEMPT_SECONDS, samesite="lax")


def attempt_of(hasher: KeyHasher, request: Request) -> list[str] | None:
    """What `keep_attempt` gave this browser, or None where it is missing, forged or old."""
    content = _opened(hasher, "attempt", request.cookies.get(ATTEMPT_COOKIE, ""))
    return None if content is None else [str(part) for part in _unpacked(content)]


def end_attempt(response: Response) -> None:
    """Forget the attempt: it counts once."""
    response.delete_cookie(ATTEMPT_COOKIE, path=_PATH)


def sign_out(response: Response) -> None:
    """Forget the cookie."""
    response.delete_cookie(SESSION_COOKIE, path=_PATH)


def signed_in(
    session: Session, hasher: KeyHasher, request: Request, issuers: Collection[str]
) -> Principal | None:
    """Who the cookie says is looking, or None where it is missing, forged, old or revoked.

    People count for as long as they may sign in at one of the `issuers`.
    """
    key_id = _opened(hasher, "session", request.cookies.get(SESSION_COOKIE, ""))
    if key_id is None:
        return None
    if key_id.startswith(_PERSON):
        issuer, tenant_id, name, scopes = _unpacked(key_id.removeprefix(_PERSON))
        known = issuer in issuers and session.get(Tenant, tenant_id) is not None
        return Principal(tenant_id, name, frozenset(scopes), issuer=issuer) if known else None
    key = session.get(ApiKey, key_id)
    if key is None or key.revoked_at is not None:
        return None
    if key.expires_at is not None and key.expires_at <= database_now(session):
        return None
    return Principal(key.tenant_id, key.id, frozenset(key.scopes))


def form_nonce(request: Request) -> str:
    """What ties a browser to the forms that it was shown."""
    return request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(24)


def keep_nonce(response: Response, nonce: str, secure: bool) -> None:
    """Give the browser its nonce, beside a form with the token of it."""
    _set(response, FORM_COOKIE, nonce, secure)


def form_token(hasher: KeyHasher, nonce: str) -> str:
    """The hidden field of a form."""
    return _mark(hasher, "form", nonce)


def form_is_ours(hasher: KeyHasher, request: Request, token: str) -> bool:
    """Whether a form was sent from a page of ours in the same browser."""
    nonce = request.cookies.get(FORM_COOKIE)
    return nonce is not None and _same(token, form_token(hasher, nonce))


def _sealed(hasher: KeyHasher, use: str, content: str, seconds: int) -> str:
    """`content`, which has no dot, until when it counts, and the mark of both."""
    until = str(int(time.time()) + seconds)
    return f"{content}.{until}.{_mark(hasher, use, content, until)}"


def _opened(hasher: KeyHasher, use: str, value: str) -> str | None:
    """The content of what was sealed for this use; None of anything else."""
    content, _, rest = value.partition(".")
    until, _, mark = rest.partition(".")
    if not _same(mark, _mark(hasher, use, content, until)) or int(until) < time.time():
        return None
    return content


def _packed(told: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode()


def _unpacked(content: str) -> list[Any]:
    told = json.loads(base64.urlsafe_b64decode(content))
    assert isinstance(told, list)
    return told


def _mark(hasher: KeyHasher, *parts: str) -> str:
    return hasher.hash("\n".join(("console", *parts))).hex()


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())


def _set(
    response: Response,
    name: str,
    value: str,
    secure: bool,
    seconds: int | None = None,
    samesite: Literal["strict", "lax"] = "strict",
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=LIFETIME_SECONDS if seconds is None else seconds,
        path=_PATH,
        secure=secure,
        httponly=True,
        samesite=samesite,
    )
