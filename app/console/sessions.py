"""Who is looking at the console: a signed cookie that names an API key, never the key itself.

The cookie is `SameSite=Strict` and `HttpOnly`; the key that it names is looked up again for every
page, so that revoking the key ends the session. Forms carry a token bound to a second cookie.
"""

import hmac
import secrets
import time

from fastapi import Request, Response
from sqlalchemy.orm import Session

from app.auth import KeyHasher, Principal, authenticate
from app.db import database_now
from app.tables import ApiKey

SESSION_COOKIE = "expunge_console"
FORM_COOKIE = "expunge_console_form"
LIFETIME_SECONDS = 8 * 3600
_PATH = "/console"


def sign_in(
    session: Session, hasher: KeyHasher, key: str, response: Response, secure: bool
) -> None:
    """Set the cookie for whoever shows an API key in force; Problem 401 otherwise."""
    principal = authenticate(session, hasher, key)
    until = str(int(time.time()) + LIFETIME_SECONDS)
    value = f"{principal.name}.{until}.{_mark(hasher, 'session', principal.name, until)}"
    _set(response, SESSION_COOKIE, value, secure)


def sign_out(response: Response) -> None:
    """Forget the cookie."""
    response.delete_cookie(SESSION_COOKIE, path=_PATH)


def signed_in(session: Session, hasher: KeyHasher, request: Request) -> Principal | None:
    """Who the cookie says is looking, or None where it is missing, forged, old or revoked."""
    key_id, _, rest = request.cookies.get(SESSION_COOKIE, "").partition(".")
    until, _, mark = rest.partition(".")
    if not _same(mark, _mark(hasher, "session", key_id, until)) or int(until) < time.time():
        return None
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


def _mark(hasher: KeyHasher, *parts: str) -> str:
    return hasher.hash("\n".join(("console", *parts))).hex()


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())


def _set(response: Response, name: str, value: str, secure: bool) -> None:
    response.set_cookie(
        name,
        value,
        max_age=LIFETIME_SECONDS,
        path=_PATH,
        secure=secure,
        httponly=True,
        samesite="strict",
    )
