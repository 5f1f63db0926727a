"""How long the ledger's verification takes, against hashing the same bytes."""

import hashlib
import hmac
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from app import ledger, ledger_check
from app.coverage import columns_of
from app.db import Database
from app.deadlines import add_months
from app.ids import new_id
from app.sealing import plain
from app.states import RequestState
from app.tables import DEFAULT_TENANT, DeletionRequest, LedgerEvent, LedgerSeal
from benchmarks.service.databases import Databases
from benchmarks.service.installation import Installation, install
from benchmarks.service.rows import Row
from expunge.canonical import canonical_json

TARGET = 5.0
_AT_ONCE = 20
"""Requests that are written in one transaction."""
_LIFE = ("received", "queued", "in_progress", "verifying", "completed")
"""The events of a request."""
_CHUNK = 1000


def measure(databases: Databases, folder: Path, *, events: int, turns: int) -> Iterator[Row]:
    """A verification, then the hashing, in turns."""
    url = databases.create()
    where = install(folder, url, instances=1)
    database = Database(url)
    _fill(database, where, events)
    ratios, ours, its = list[float](), list[float](), list[float]()
    sealed = _sealed_bytes(database)
    for _ in range(turns):
        ours.append(_verified(database))
        its.append(_hashed(database, sealed))
        ratios.append(ours[-1] / its[-1])
    yield Row(
        name=f"verification of {events} events, {databases.kind}",
        ours=statistics.median(ours),
        reference=statistics.median(its),
        ratio=statistics.median(ratios),
        target=TARGET,
        unit="s",
        section="verify",
        note=f"and of the {events // len(_LIFE)} rows that they seal; against reading events and"
        " seals and hashing them and the rows' columns as often as the verification does",
    )
    database.dispose()


def _fill(database: Database, where: Installation, events: int) -> None:
    now = datetime.now(UTC)
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
            for number in range(some):
                request = _request(where, now)
                session.add(request)
                for state in _LIFE:
                    told = {"from": state, "model": request.model_id, "number": number}
                    ledger.append(
                        session, DEFAULT_TENANT, f"request.{state}", request.id, "benchmark", told
                    )
        left -= some


def _request(where: Installation, now: datetime) -> DeletionRequest:
    return DeletionRequest(
        id=new_id("req"),
        tenant_id=DEFAULT_TENANT,
        model_id=where.model_ids[0],
        root_id=where.version_ids[0],
        state=RequestState.COMPLETED,
        scope="full",
        tasks=["digit", "parity"],
        subjects=[],
        instance_count=0,
        unknown_instances=[],
        priority="normal",
        received_at=now,
        due_at=add_months(now, 1),
        exceptions=[],
        created_by="benchmark",
        created_at=now,
        updated_at=now,
    )


def _verified(database: Database) -> float:
    begun = time.perf_counter()
    with database.read() as session:
        fault = ledger_check.verify(session, DEFAULT_TENANT)
    if fault is not None:
        raise ValueError(f"the ledger does not hold: {fault}")
    return time.perf_counter() - begun


def _sealed_bytes(database: Database) -> list[bytes]:
    """What is hashed of each column of each row."""
    columns = columns_of(DeletionRequest)
    with database.read() as session:
        rows = session.scalars(select(DeletionRequest).execution_options(yield_per=_CHUNK))
        return [
            canonical_json([f"deletion_requests/{row.id}", name, plain(getattr(row, name))])
            for row in rows
            for name in columns
        ]


def _hashed(database: Database, sealed: list[bytes]) -> float:
    """Each event under the chain's hash and as the tree's leaf, each seal, each row's columns."""
    begun = time.perf_counter()
    with database.read() as session:
        chain = bytes(32)
        bodies = select(LedgerEvent.body).where(LedgerEvent.tenant_id == DEFAULT_TENANT)
        ordered = bodies.order_by(LedgerEvent.seq).execution_options(yield_per=_CHUNK)
        for (body,) in session.connection().execute(ordered):
            content = body.encode()
            chain = hashlib.sha256(chain + content).digest()
            hashlib.sha256(b"\x00" + content).digest()
        seals = select(LedgerSeal.sealed).where(LedgerSeal.tenant_id == DEFAULT_TENANT)
        for (text,) in session.connection().execute(seals.execution_options(yield_per=_CHUNK)):
            hashlib.sha256(text.encode()).digest()
        key = bytes(32)
        for content in sealed:
            hmac.digest(key, content, "sha256")
    return time.perf_counter() - begun
