"""What the pieces of a POST cost by themselves, of processor time, against the whole bare POST.

What a POST of a deletion request must do besides the bare one is made of these: so many statements,
a thread more or less, digests of what is written. Each is repeated in this process and the quickest
of several rounds counts, as other work on the machine only ever adds.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from fastapi import FastAPI
from sqlalchemy import bindparam, insert, select
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message

from app import ledger, tenancy
from app.db import Database, database_now
from app.prepared import Prepared
from app.schemas.deletion_requests import NewDeletionRequest
from app.tables import DEFAULT_TENANT, IdempotencyKey
from benchmarks.service import bare
from benchmarks.service.databases import Databases
from benchmarks.service.installation import install
from benchmarks.service.rows import Row

ROUNDS = 7
REPEATS = 40
_PATH = "/v1/deletion-requests"
_BODY = b'{"model": "digits-model", "instances": ["i-0"], "reason": "gdpr_art_17_1_b"}'
_ADD = Prepared(insert(IdempotencyKey.__table__))  # type: ignore[arg-type]  # it is a Table
_FIND = Prepared(select(IdempotencyKey.status).where(IdempotencyKey.key == bindparam("key")))


def measure(databases: Databases, folder: Path) -> Iterator[Row]:
    """Each piece, in microseconds."""
    where = install(folder / "pieces", databases.create(), instances=1)
    database = Database(where.settings.database)
    with mock.patch.dict(os.environ, where.environment):
        whole = _quickest(_posts(bare.create_app()))
    found = {
        "a POST that FastAPI checks and answers": _quickest(_posts(_answering())),
        "a turn of another thread": _quickest(_hops),
        "a transaction that writes nothing": _quickest(lambda: _transactions(database)),
        "a transaction that commits a row": _quickest(_commits(database)),
        **_statements(database),
    }
    for name, seconds in found.items():
        yield Row(
            name=f"{name}, {databases.kind}",
            ours=1e6 * seconds,
            reference=1e6 * whole,
            ratio=seconds / whole,
            target=None,
            unit="microseconds",
            section="pieces",
            note="of processor time, without HTTP's own work, against a whole bare POST",
        )
    database.dispose()


def _quickest(piece: Callable[[], None]) -> float:
    piece()
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        piece()
        best = min(best, (time.process_time() - start) / REPEATS)
    return best


def _statements(database: Database) -> Mapping[str, float]:
    with database.write() as session, session.begin():
        now = database_now(session)
        rows = _rows(now)

        def by_unit_of_work() -> None:
            for _ in range(REPEATS):
                session.add(IdempotencyKey(**next(rows)))
                session.flush()

        def prepared() -> None:
            for _ in range(REPEATS):
                _ADD.run(session, next(rows))

        def read() -> None:
            for _ in range(REPEATS):
                _FIND.rows(session, {"key": "none"})

        def told() -> None:
            for number in range(REPEATS):
                entity = f"req_{number}"
                told_of = {"at": now.isoformat()}
                ledger.append(session, DEFAULT_TENANT, "request.received", entity, "b", told_of)
                ledger.append(session, DEFAULT_TENANT, "request.queued", entity, "b", told_of)
                ledger.write(session)

        found = {
            "an INSERT by the unit of work": _quickest(by_unit_of_work),
            "an INSERT, prepared": _quickest(prepared),
            "a SELECT, prepared": _quickest(read),
            "two events of the ledger, without seals": _quickest(told),
        }
        session.rollback()
    return found


def _rows(at: datetime) -> Iterator[dict[str, object]]:
    number = 0
    while True:
        number += 1
        yield {
            "caller": "benchmark",
            "key": f"{number} at {at}",
            "tenant_id": DEFAULT_TENANT,
            "fingerprint": "f" * 64,
            "status": 202,
            "headers": {"location": _PATH},
            "body": "x" * 1000,
            "created_at": at,
            "expires_at": at,
        }


def _transactions(database: Database) -> None:
    for _ in range(REPEATS):
        with database.write() as session, session.begin():
            session.connection()


def _commits(database: Database) -> Callable[[], None]:
    rows = _rows(datetime.now(UTC))

    def commits() -> None:
        for _ in range(REPEATS):
            with database.write() as session, session.begin():
                _ADD.run(session, next(rows))

    return commits


def _hops() -> None:
    async def hop() -> None:
        for _ in range(REPEATS):
            await run_in_threadpool(tenancy.current)

    asyncio.run(hop())


def _answering() -> FastAPI:
    """The bare application without its INSERT."""
    app = FastAPI()

    @app.post(_PATH, status_code=202)
    async def create(body: NewDeletionRequest) -> dict[str, str]:
        return {"id": body.model, "state": "queued"}

    return app


def _posts(app: ASGIApp) -> Callable[[], None]:
    async def post() -> None:
        for _ in range(REPEATS):
            await app(_scope(), _received, _ignored)

    return lambda: asyncio.run(post())


def _scope() -> dict[str, object]:
    headers = {"content-type": "application/json", "content-length": str(len(_BODY))}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": _PATH,
        "raw_path": _PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def _received() -> Message:
    return {"type": "http.request", "body": _BODY, "more_body": False}


async def _ignored(_: Message) -> None:
    pass
