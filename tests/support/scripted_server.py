"""A scripted HTTP server on loopback: what a client does when things go wrong."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Reply:
    """An answer to give; `cut` closes the connection after so many bytes of the body."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None


class Script:
    """A real HTTP server that gives prepared answers, the last one again and again."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.seen: list[Seen] = []
        self.replies: list[Reply | Callable[[Seen], Reply]] = []

    def say(self, *replies: Reply | Callable[[Seen], Reply]) -> None:
        self.replies = list(replies)

    def next(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(seen) if callable(reply) else reply


class _Handler(BaseHTTPRequestHandler):
    script: Script

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.script.next(Seen(self.command, self.path, dict(self.headers), body))
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[: reply.cut])
        if reply.cut is not None:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def scripted() -> Iterator[Script]:
    """A running server."""
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        handler.script = Script(server)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield handler.script
        server.shutdown()
        thread.join()


def problem(status: int, slug: str, detail: str, **more: Any) -> Reply:
    """A problem document as the service writes it."""
    body = {
        "type": f"https://expunge.dev/problems/{slug}",
        "title": slug,
        "status": status,
        "detail": detail,
        **more.pop("extensions", {}),
    }
    return Reply(status, json.dumps(body).encode(), more.get("headers", {}))
