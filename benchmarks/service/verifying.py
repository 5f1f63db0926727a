"""How long the ledger's verification takes, against hashing the same bytes.

The reference reads all that the verification reads (events, seals, covered rows and sets) and
hashes as many bytes in as many pieces: each event twice (the chain's hash and the tree's leaf),
each seal once, and under the key of the seals a message for each column of each row and for each
set. Of those messages it has the lengths only. What the verification does besides is compared: it
brings values into their canonical form, parses seals, and finds for each row what was sealed of it.
"""

import statistics
import time
from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app import ledger, ledger_check
from app.coverage import columns_of
from app.db import Database
from app.deadlines import add_months
from app.ids import new_id
from app.pseudonyms import Pseudonyms
from app.sealing import plain, seal_of, seal_of_members
from app.states import RequestState
from app.tables import (
    DEFAULT_TENANT,
    Base,
    DeletionRequest,
    LedgerEvent,
    LedgerSeal,
    RequestInstance,
)
from benchmarks.service.databases import Databases
from benchmarks.service.installation import Installation, install
from benchmarks.service.rows import Row
from expunge.canonical import canonical_json

TARGET = 5.0
_AT_ONCE = 100
"""Requests that are written in one transaction."""
_LIFE = ("received", "queued", "in_progress", "verifying", "completed")
"""The events of a request."""
_CHUNK = 1000
_BLOCK = 64
_INSTANCE = 1


def measure(databases: Databases, folder: Path, *, events: int, turns: int) -> Iterator[Row]:
    """A verification, then the hashing, in turns; and the same against events and seals alone."""
    url = databases.create()
    where = install(folder, url, instances=1)
    database = Database(url)
    _fill(database, where, events)
    lengths = _lengths(database)
    ours, all_bytes, chain_alone = list[float](), list[float](), list[float]()
    for _ in range(turns):
        ours.append(_verified(database))
        all_bytes.append(_hashed(database, lengths))
        chain_alone.append(_hashed(database, ()))
    requests = events // len(_LIFE)
    shared = {"unit": "s", "section": "verify", "ours": statistics.median(ours)}
    yield Row(
        name=f"verification of {events} events, {databases.kind}",
        reference=statistics.median(all_bytes),
        ratio=_ratio(ours, all_bytes),
        target=TARGET,
        note=f"with the {requests} requests and {requests} sets that they seal; the reference reads"
        " the same and hashes as many bytes in as many pieces",
        **shared,
    )
    yield Row(
        name=f"verification of {events} events, beside the chain alone, {databases.kind}",
        reference=statistics.median(chain_alone),
        ratio=_ratio(ours, chain_alone),
        target=None,
        note="the same; the reference reads and hashes events and seals, and nothing of the rows",
        **shared,
    )
    database.dispose()


def _ratio(ours: Sequence[float], reference: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, reference, strict=True))


def _fill(database: Database, where: Installation, events: int) -> None:
    with database.write() as session, session.begin():
        # The installation's own rows were written by nobody who told the ledger.
        ledger.append(session, DEFAULT_TENANT, "benchmark.begun", "benchmark", "benchmark")
    with database.write() as session, session.begin():
        missing = ledger_check.unsealed(session, DEFAULT_TENANT)
        ledger.seal_rows(session, DEFAULT_TENANT, missing, "benchmark")
    left = events // len(_LIFE)
    while left > 0:
        some = min(left, _AT_ONCE)
        with database.write() as session, session.begin():
            _add(session, [_request(where) for _ in range(some)])
        left -= some


def _add(session: Session, requests: Sequence[dict[str, Any]]) -> None:
    """Requests, each with its instance and its events, sealed as they are."""
    connection = session.connection()
    tables = Base.metadata.tables
    named = [{"request_id": one["id"], "instance_pk": _INSTANCE} for one in requests]
    connection.execute(insert(tables["deletion_requests"]), requests)
    connection.execute(insert(tables["request_instances"]), named)
    key = ledger.seal_key_of(ledger.lock(session, DEFAULT_TENANT))
    nobody = Pseudonyms(session, DEFAULT_TENANT, make=False)
    seals = {}
    for number, one in enumerate(requests):
        id = one["id"]
        for state in _LIFE:
            told = {"from": state, "model": one["model_id"], "number": number}
            ledger.append(session, DEFAULT_TENANT, f"request.{state}", id, "benchmark", told)
        values = {column: one[column] for column in columns_of(DeletionRequest)}
        seals[f"deletion_requests/{id}"] = seal_of(key, "deletion_requests", id, values, nobody)
        seals[f"request_instances/{id}"] = seal_of_members(
            key, RequestInstance, id, [[(_INSTANCE,)]], nobody
        )
    ledger.seal_rows(session, DEFAULT_TENANT, seals, "benchmark")


def _request(where: Installation) -> dict[str, Any]:
    now = datetime.now(UTC)
    return dict.fromkeys(columns_of(DeletionRequest)) | {
        "id": new_id("req"),
        "tenant_id": DEFAULT_TENANT,
        "model_id": where.model_ids[0],
        "root_id": where.version_ids[0],
        "state": str(RequestState.COMPLETED),
        "scope": "full",
        "tasks": ["digit", "parity"],
        "subjects": [],
        "instance_count": 1,
        "unknown_instances": [],
        "priority": "normal",
        "received_at": now,
        "due_at": add_months(now, 1),
        "extended": False,
        "approvals_needed": 0,
        "exceptions": [],
        "created_by": "benchmark",
        "revision": 1,
        "created_at": now,
        "updated_at": now,
    }


def _verified(database: Database) -> float:
    begun = time.perf_counter()
    with database.read() as session:
        fault = ledger_check.verify(session, DEFAULT_TENANT)
    if fault is not None:
        raise ValueError(f"the ledger does not hold: {fault}")
    return time.perf_counter() - begun


def _lengths(database: Database) -> Sequence[int]:
    """How long each message is that the verification hashes of the requests and their sets."""
    found = array("I")
    columns = columns_of(DeletionRequest)
    with database.read() as session:
        rows = select(DeletionRequest.__table__).execution_options(yield_per=_CHUNK)
        for row in session.connection().execute(rows):
            name = f"deletion_requests/{row.id}"
            found.extend(
                len(canonical_json([name, column, plain(getattr(row, column))]))
                for column in columns
            )
            found.append(len(f"request_instances/{row.id}\n[{_INSTANCE}]\n"))
    return found


def _hashed(database: Database, lengths: Sequence[int]) -> float:
    """Read and hash events and seals, and where lengths of messages are given, rows and sets."""
    begun = time.perf_counter()
    with database.read() as session:
        chain = bytes(32)
        bodies = select(LedgerEvent.body).where(LedgerEvent.tenant_id == DEFAULT_TENANT)
        ordered = bodies.order_by(LedgerEvent.seq).execution_options(yield_per=_CHUNK)
        for (body,) in session.connection().execute(ordered):
            content = body.encode()
            chain = sha256(chain + content).digest()
            sha256(b"\x00" + content).digest()
        seals = select(LedgerSeal.sealed).where(LedgerSeal.tenant_id == DEFAULT_TENANT)
        for (text,) in session.connection().execute(seals.execution_options(yield_per=_CHUNK)):
            sha256(text.encode()).digest()
        for table in ("deletion_requests", "request_instances") if lengths else ():
            rows = select(Base.metadata.tables[table]).execution_options(yield_per=_CHUNK)
            for _ in session.connection().execute(rows):
                pass
    # The HMAC of as many bytes, by its definition: the quickest way to it from Python.
    inner, outer = b"\x36" * _BLOCK, b"\x5c" * _BLOCK
    message = bytes(max(lengths, default=0))
    for length in lengths:
        sha256(outer + sha256(inner + message[:length]).digest()).digest()
    return time.perf_counter() - begun
