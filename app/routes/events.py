"""Ledger events: by cursor, or as a stream that goes on at `Last-Event-ID`."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from app.auth import Principal, Scope
from app.db import Database
from app.http import DatabaseDep, answer, requires
from app.pagination import Items, Page, PageDep, link_next
from app.problems import Invalid
from app.schemas.events import EventView
from app.schemas.fields import Text
from app.services import events
from app.services.lookup import owned
from app.shutdown import stopping
from app.tables import DeletionRequest

EVENT_STREAM = "text/event-stream"
_LOOK_AGAIN = 0.5
_HEARTBEAT = 15.0
"""Seconds of silence after which a comment shows that the stream is alive."""
_BATCH = 200

router = APIRouter(prefix="/v1", tags=["events"])

LedgerReader = Annotated[Principal, Depends(requires(Scope.LEDGER_READ))]
RequestReader = Annotated[
    Principal,
    Depends(requires(Scope.LEDGER_READ, Scope.REQUESTS_WRITE, Scope.REQUESTS_APPROVE)),
]
LastEventId = Annotated[str | None, Header()]
_STREAMS: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENT_STREAM: {}}, "description": "Events, as JSON or as a stream"}
}


@router.get("/events", response_model=Items[EventView], responses=_STREAMS)
async def all_events(
    http: Request,
    caller: LedgerReader,
    database: DatabaseDep,
    page: PageDep,
    last_event_id: LastEventId = None,
) -> Response:
    """Every change of state, oldest first; `Accept: text/event-stream` follows them live."""
    return await _answer(http, database, caller.tenant_id, page, last_event_id, None)


@router.get(
    "/deletion-requests/{request_id}/events",
    response_model=Items[EventView],
    responses=_STREAMS,
)
async def request_events(
    request_id: Text,
    http: Request,
    caller: RequestReader,
    database: DatabaseDep,
    page: PageDep,
    last_event_id: LastEventId = None,
) -> Response:
    """What happened to a request, to the jobs that served it and to the versions they made."""

    def check() -> None:
        with database.read() as session:
            owned(session, caller.tenant_id, DeletionRequest, request_id)

    await run_in_threadpool(check)
    return await _answer(http, database, caller.tenant_id, page, last_event_id, request_id)


async def _answer(
    http: Request,
    database: Database,
    tenant_id: str,
    page: Page,
    last_event_id: str | None,
    request_id: str | None,
) -> Response:
    after = page.after_number() or 0
    if EVENT_STREAM in http.headers.get("accept", ""):
        if last_event_id is not None:
            after = _number(last_event_id)
        return StreamingResponse(
            _stream(database, tenant_id, after, request_id),
            media_type=EVENT_STREAM,
            headers={"X-Accel-Buffering": "no"},
        )
    rows = await run_in_threadpool(_read, database, tenant_id, after, page.limit + 1, request_id)
    shown, cursor = page.cut(rows, lambda event: event.seq)
    response = answer(Items[EventView](items=list(shown), next=cursor))
    link_next(http, response, cursor)
    return response


async def _stream(
    database: Database, tenant_id: str, after: int, request_id: str | None
) -> AsyncIterator[str]:
    """Events as they happen, until the caller leaves or the server stops."""
    yield f": the events behind number {after}\n\n"
    quiet_since = time.monotonic()
    while not stopping():
        found = await run_in_threadpool(_read, database, tenant_id, after, _BATCH, request_id)
        for event in found:
            after = event.seq
            yield f"id: {event.seq}\nevent: {event.kind}\ndata: {event.model_dump_json()}\n\n"
            quiet_since = time.monotonic()
        if time.monotonic() - quiet_since >= _HEARTBEAT:
            yield ": still here\n\n"
            quiet_since = time.monotonic()
        if len(found) < _BATCH:
            await asyncio.sleep(_LOOK_AGAIN)


def _read(
    database: Database, tenant_id: str, after: int, limit: int, request_id: str | None
) -> Sequence[EventView]:
    with database.read() as session:
        rows = events.list_events(
            session, tenant_id, after=after, limit=limit, request_id=request_id
        )
        return [events.view(row) for row in rows]


def _number(last_event_id: str) -> int:
    if not last_event_id.isdecimal() or len(last_event_id) > 18:
        raise Invalid(
            "header:last-event-id", f"Last-Event-ID {last_event_id!r:.50} is no event's number"
        )
    return int(last_event_id)
