"""The append-only, hash-chained log of every change of state, one chain a tenant.

An event's hash is sha256 over the hash before it and the event's canonical body, so that no event
can be changed, dropped, added or moved without breaking every later hash.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import database_now
from app.tables import LedgerEvent, LedgerHead
from expunge.canonical import canonical_json

GENESIS = "0" * 64


def append(
    session: Session,
    tenant_id: str,
    kind: str,
    entity_id: str,
    actor: str,
    payload: dict[str, Any] | None = None,
) -> LedgerEvent:
    """The new last event of the tenant's chain, in the caller's transaction.

    The head row stays locked until that transaction ends, so call this after the slow work.
    """
    head = session.scalar(
        select(LedgerHead).where(LedgerHead.tenant_id == tenant_id).with_for_update()
    )
    if head is None:
        raise LookupError(f"tenant {tenant_id} has no ledger head")
    seq = head.seq + 1
    body = canonical_json(
        {
            "seq": seq,
            "at": _stamp(database_now(session)),
            "kind": kind,
            "entity": entity_id,
            "actor": actor,
            "payload": payload or {},
        }
    ).decode()
    row = LedgerEvent(
        tenant_id=tenant_id,
        seq=seq,
        kind=kind,
        entity_id=entity_id,
        body=body,
        prev_hash=head.hash,
        hash=link(head.hash, body),
    )
    head.seq, head.hash = seq, row.hash
    session.add(row)
    session.flush()
    return row


def link(prev_hash: str, body: str) -> str:
    """Hex sha256 of the previous hash and the event's canonical body."""
    return hashlib.sha256(bytes.fromhex(prev_hash) + body.encode()).hexdigest()


def verify(session: Session, tenant_id: str) -> str | None:
    """The first thing wrong with a tenant's chain as one sentence, or None."""
    head = session.get(LedgerHead, tenant_id)
    if head is None:
        return f"tenant {tenant_id} has no ledger head"
    seq, prev = 0, GENESIS
    for event in _events(session, tenant_id):
        seq += 1
        if event.seq != seq:
            return f"event {seq} is missing: {event.seq} follows {seq - 1}"
        if event.prev_hash != prev:
            return f"event {seq} does not follow event {seq - 1}: its previous hash differs"
        if link(prev, event.body) != event.hash:
            return f"event {seq} was changed: its body does not give its hash"
        told = json.loads(event.body)
        if (told["seq"], told["kind"], told["entity"]) != (seq, event.kind, event.entity_id):
            return f"event {seq} was changed: its columns differ from its body"
        prev = event.hash
    if (head.seq, head.hash) != (seq, prev):
        return f"the head names event {head.seq}, the chain ends with event {seq}"
    return None


def _events(session: Session, tenant_id: str) -> Iterator[LedgerEvent]:
    rows = select(LedgerEvent).where(LedgerEvent.tenant_id == tenant_id).order_by(LedgerEvent.seq)
    return iter(session.scalars(rows.execution_options(yield_per=1000)))


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
