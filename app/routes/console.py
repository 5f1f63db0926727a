"""`/console`: one page that shows requests and what their audits measured. It changes nothing."""

from dataclasses import astuple
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from app import console, tenancy
from app.auth import Principal, Scope, refused
from app.console import sessions
from app.http import Parts, PartsDep
from app.pagination import PageDep
from app.problems import Problem
from app.rate_limits import address_of
from app.routes.receipts import in_form
from app.schemas.estimates import Estimate
from app.schemas.fields import Text
from app.services import request_views
from app.services.evidence import receipt_of
from app.services.lookup import owned
from app.states import FINISHED_REQUEST
from app.tables import DeletionRequest
from app.templates import environment

if TYPE_CHECKING:
    from jinja2 import Environment

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
_FOLDER = Path(console.__file__).parent
_REFRESH_SECONDS = "5"
_CALLBACK = "/console/oidc/callback"
_READERS = (Scope.REQUESTS_WRITE, Scope.REQUESTS_APPROVE)

router = APIRouter(prefix="/console", include_in_schema=False)


@router.get("")
def show(request: Request, parts: PartsDep, page: PageDep) -> Response:
    """The caller's requests, newest first; the form for a key where there is no session."""
    principal = _signed_in(request, parts)
    if principal is None:
        return _ask_for_key(request, parts)
    try:
        principal.require(*_READERS)
    except Problem as problem:
        return _ask_for_key(request, parts, problem)
    with parts.database.read() as session:
        rows = request_views.list_requests(
            session, principal.tenant_id, limit=page.limit + 1, before_id=page.after
        )
        shown, cursor = page.cut(rows, lambda row: row.id)
        views = request_views.views(session, shown)
    response = _render(
        request, parts, "requests.html", requests=views, next=cursor, principal=principal
    )
    if any(view.state not in FINISHED_REQUEST for view in views):
        response.headers["Refresh"] = _REFRESH_SECONDS
    return response


@router.post("/sign-in")
def sign_in(
    request: Request,
    parts: PartsDep,
    key: Annotated[str, Form(max_length=200)] = "",
    token: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Start a session with an API key."""
    if not sessions.form_is_ours(parts.hasher, request, token):
        return _ask_for_key(request, parts, _foreign_form())
    response = RedirectResponse("/console", 303)
    try:
        with (
            parts.limits.finding_out(address_of(request)),
            tenancy.every(),
            parts.database.read() as session,
        ):
            sessions.sign_in(session, parts.hasher, key.strip(), response, _is_https(request))
    except Problem as problem:
        return _ask_for_key(request, parts, problem)
    return response


@router.get("/oidc/start")
def leave_for_issuer(request: Request, parts: PartsDep, issuer: Text = "") -> Response:
    """Send the browser to an issuer, to sign in there."""
    from app.oidc import sign_in as at_issuer  # noqa: PLC0415 - most have no issuer

    if parts.oidc is None:
        return _ask_for_key(request, parts, _no_issuer())
    try:
        url, attempt = at_issuer.begin(parts.oidc, issuer, _way_back(request, parts))
    except Problem as problem:
        return _ask_for_key(request, parts, problem)
    response = RedirectResponse(url, 303)
    sessions.keep_attempt(parts.hasher, astuple(attempt), response, _is_https(request))
    return response


@router.get("/oidc/callback")
def come_back(
    request: Request,
    parts: PartsDep,
    state: Annotated[Text, Query(max_length=200)] = "",
    code: Annotated[Text, Query(max_length=4000)] = "",
    iss: Annotated[Text, Query(max_length=200)] = "",
) -> Response:
    """Start a session for whoever comes back from an issuer with a code.

    The page leads on by itself: a redirect would still count as coming from the issuer's site,
    and the session's cookie would be left behind.
    """
    from app.oidc import sign_in as at_issuer  # noqa: PLC0415

    kept = sessions.attempt_of(parts.hasher, request)
    if parts.oidc is None:
        return _ask_for_key(request, parts, _no_issuer())
    try:
        with parts.limits.finding_out(address_of(request)), tenancy.every():
            if kept is None or not code:
                raise refused("the identity provider let nobody in, or it took too long: try again")
            attempt = at_issuer.Attempt(*kept)
            if iss not in ("", attempt.issuer):  # RFC 9207
                raise refused("another identity provider answered than was asked: try again")
            way_back = _way_back(request, parts)
            principal = at_issuer.finish(parts.oidc, attempt, state, code, way_back)
    except Problem as problem:
        response: Response = _ask_for_key(request, parts, problem)
    else:
        response = _render(request, parts, "signed_in.html", principal=None)
        response.headers["Refresh"] = "0; url=/console"
        sessions.let_in(parts.hasher, principal, response, _is_https(request))
    sessions.end_attempt(response)
    return response


@router.post("/sign-out")
def sign_out(
    request: Request, parts: PartsDep, token: Annotated[str, Form(max_length=200)] = ""
) -> Response:
    """End the session."""
    if not sessions.form_is_ours(parts.hasher, request, token):
        return _ask_for_key(request, parts, _foreign_form())
    response = RedirectResponse("/console", 303)
    sessions.sign_out(response)
    return response


@router.get("/receipts/{request_id}")
def receipt(request_id: Text, request: Request, parts: PartsDep) -> Response:
    """A request's receipt, for a browser, which holds a session rather than a key."""
    principal = _signed_in(request, parts)
    if principal is None:
        return _ask_for_key(request, parts)
    principal.require(*_READERS)
    with parts.database.read() as session:
        row = owned(session, principal.tenant_id, DeletionRequest, request_id)
        found = receipt_of(session, row.id)
    if found is None:
        raise Problem(404, "no-receipt", f"request {row.id} is {row.state} and has no receipt")
    return in_form(found, request, parts)


@router.get("/console.css")
def stylesheet() -> Response:
    """How it looks."""
    return FileResponse(_FOLDER / "static" / "console.css", media_type="text/css")


def _signed_in(request: Request, parts: Parts) -> Principal | None:
    """Who is looking, within whose tenant the rest of the request is done."""
    with tenancy.every(), parts.database.read() as session:
        principal = sessions.signed_in(session, parts.hasher, request, _issuers(parts))
    if principal is not None:
        request.state.rate_limit = parts.limits.take(principal.name)
        tenancy.enter(principal.tenant_id)
    return principal


def _ask_for_key(request: Request, parts: Parts, problem: Problem | None = None) -> Response:
    return _render(
        request,
        parts,
        "sign_in.html",
        status=problem.status if problem else 200,
        complaint=problem.detail if problem else None,
        principal=None,
        issuers=_issuers(parts),
    )


def _render(
    request: Request, parts: Parts, template: str, *, status: int = 200, **values: Any
) -> HTMLResponse:
    nonce = sessions.form_nonce(request)
    token = sessions.form_token(parts.hasher, nonce)
    html = _templates().get_template(template).render(token=token, **values)
    response = HTMLResponse(html, status)
    sessions.keep_nonce(response, nonce, _is_https(request))
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


def _issuers(parts: Parts) -> list[str]:
    return [] if parts.oidc is None else parts.oidc.for_people


def _way_back(request: Request, parts: Parts) -> str:
    """Where issuers send browsers back to; it is registered there."""
    return (parts.settings.public_url or str(request.base_url)).rstrip("/") + _CALLBACK


def _no_issuer() -> Problem:
    return Problem(404, "not-found", "nobody signs in at an issuer here")


def _foreign_form() -> Problem:
    return Problem(403, "foreign-form", "this form was not sent from this page: try again")


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _is_https(request: Request) -> bool:
    return request.url.scheme == "https"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _cost(estimate: Estimate) -> str:
    """Time and its share of retraining's, as far as they are known."""
    share, seconds = estimate.share_of_retraining, estimate.seconds
    told = [] if seconds is None else [f"{seconds:.3g} s"]
    told += [] if share is None else [f"{share:.1%} of retraining"]
    return f"{', '.join(told) or 'not known yet'} ({estimate.method})"


def _words(state: str) -> str:
    return state.replace("_", " ")


@cache
def _templates() -> "Environment":
    found = environment().overlay()
    found.filters = found.filters | {
        "moment": _moment,
        "words": _words,
        "cost": _cost,
        "host": _host,
    }
    return found
