"""Around every request: its id, log line, metrics, security headers, and the limits of its body."""

import logging
import re
import time
from collections.abc import Sequence

import uuid_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import json_body, tenancy
from app.logs import REQUEST_ID
from app.metrics import HttpMetrics
from app.problems import Problem, unexpected

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_DRAINED = 64_000_000
_log = logging.getLogger("app.access")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class RequestContext:
    """Outermost: gives a request its id, tells log and metrics how it ended, whatever happened."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        token = REQUEST_ID.set(request_id)
        outside = tenancy.enter(tenancy.NOBODY)
        start = time.perf_counter()
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                standing = scope.get("state", {}).get("rate_limit")
                headers.update(standing.headers if standing is not None else {})
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except ClientDisconnect:
            _log.info("%s %s: the caller went away", scope["method"], scope["path"])
        except Exception as error:
            answer = unexpected(error)
            if status:
                raise  # half an answer is out: cut the connection rather than pretend it is whole
            await answer(scope, receive, send_marked)
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.observe(scope["method"], route, status, seconds)
            _log.info(
                "%s %s %s %.1f ms", scope["method"], scope["path"], status or "-", 1000 * seconds
            )
            tenancy.leave(outside)
            REQUEST_ID.reset(token)


class BodyLimits:
    """Refuses bodies that are too large, and JSON that no route should see."""

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        max_upload_bytes: int,
        uploads: Sequence[re.Pattern[str]],
    ) -> None:
        """`uploads` are the paths that take files; all others' bodies are read whole."""
        self._app = app
        self._max_body = max_body_bytes
        self._max_upload = max_upload_bytes
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            if self._streams(scope["path"], headers):
                _check_length(headers, self._max_upload)
                receive, send = _drained(_counted(receive, self._max_upload), send, headers)
            else:
                _check_length(headers, self._max_body)
                receive = await self._buffered(receive, headers)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _streams(self, path: str, headers: Headers) -> bool:
        if not headers.get("content-type", "").startswith("multipart/"):
            return False
        return any(upload.fullmatch(path) for upload in self._uploads)

    async def _buffered(self, receive: Receive, headers: Headers) -> Receive:
        chunks: list[bytes] = []
        counted = _counted(receive, self._max_body)
        while True:
            message = await counted()
            if message["type"] == "http.disconnect":
                break
            chunks.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        body = b"".join(chunks)
        if body and "json" in headers.get("content-type", ""):
            json_body.check(body)
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return replay


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _ACCEPTABLE_ID.fullmatch(given) else uuid_utils.uuid7().hex


def _check_length(headers: Headers, limit: int) -> None:
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return counted


def _drained(receive: Receive, send: Send, headers: Headers) -> tuple[Receive, Send]:
    """Read what is left of an upload before it is refused, unless that is very much.

    A caller that is still sending when the connection closes sees a broken pipe, not the answer.
    """
    ended = "expect" in headers  # then nothing was sent yet, and nothing will be

    async def noted() -> Message:
        nonlocal ended
        message = await receive()
        ended = not message.get("more_body", False)
        return message

    async def send_after(message: Message) -> None:
        left = _DRAINED
        while message["type"] == "http.response.start" and not ended and left > 0:
            left -= len((await noted()).get("body", b""))
        await send(message)

    return noted, send_after


def _too_large(limit: int) -> Problem:
    return Problem(413, "too-large", f"the body is larger than {limit} bytes")
