"""A file over HTTP: strong ETag, one byte range, conditions, and the digest of the whole.

RFC 9110 (ranges and conditions), RFC 9530 (`Repr-Digest`).
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from anyio import to_thread
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from app.problems import Problem

_BLOCK = 1 << 20
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class Span:
    """Which bytes of a file are to be sent."""

    begin: int
    end: int
    """Behind the last one."""
    partial: bool


def etag_of(sha256: str) -> str:
    """The strong ETag of a file with this digest."""
    return f'"{sha256}"'


def is_not_modified(request: Request, etag: str) -> bool:
    """Whether the caller has the file already (`If-None-Match`)."""
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
    return given.strip() == "*" or etag in tags


def span_of(request: Request, etag: str, size: int) -> Span:
    """The bytes that the request asks for; 416 where there are none of them.

    A Range header that is malformed, names several ranges, or whose `If-Range` does not hold, is
    ignored, as RFC 9110 has it: the answer is then the whole file.
    """
    whole = Span(0, size, partial=False)
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or asked.groups() == ("", "") or request.method == "HEAD":
        return whole
    if request.headers.get("if-range", etag) != etag:
        return whole
    first, last = asked.groups()
    if first:
        begin = int(first)
        end = min(int(last) + 1, size) if last else size
        if last and int(last) < begin:
            return whole
    else:
        begin, end = max(size - int(last), 0), size
    if begin >= size or begin >= end:
        raise Problem(
            416,
            "range-not-satisfiable",
            f"the file has {size} bytes, none of them in {asked[0]!r}",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return Span(begin, end, partial=True)


def file_headers(sha256: str, size: int, filename: str, media_type: str) -> dict[str, str]:
    """What every answer about a file says of it."""
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{filename}"',
        "Content-Length": str(size),
        "Content-Type": media_type,
        "ETag": etag_of(sha256),
        "Repr-Digest": f"sha-256=:{digest}:",
    }


class FileSlice(Response):
    """Streams part of an open file in constant memory, and closes it."""

    def __init__(self, stream: BinaryIO, span: Span, size: int, headers: Mapping[str, str]) -> None:
        super().__init__(status_code=206 if span.partial else 200, headers=headers)
        self._stream = stream
        self._span = span
        self.headers["Content-Length"] = str(span.end - span.begin)
        if span.partial:
            self.headers["Content-Range"] = f"bytes {span.begin}-{span.end - 1}/{size}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send headers and bytes."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        with self._stream as stream:
            await send({"type": "http.response.start", **start})
            left = self._span.end - self._span.begin
            stream.seek(self._span.begin)
            while left:
                block = await to_thread.run_sync(stream.read, min(_BLOCK, left))
                if not block:
                    raise EOFError(f"the file of {self.headers['etag']} became shorter")
                left -= len(block)
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
