"""The append-only, hash-chained log of every change of state, one chain a tenant.

An event's hash is sha256 over the hash before it and the event's canonical body, so that no event
can be changed, dropped, added or moved without breaking every later hash.
"""

import hashlib
import json
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
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
    """The first thing wrong with a tenant's chain as one sentence, or None.

    Events that are appended meanwhile are not looked at: the chain is checked up to the head as it
    was at the start.
    """
    head = session.get(LedgerHead, tenant_id)
    if head is None:
        return f"tenant {tenant_id} has no ledger head"
    seq, prev = 0, GENESIS
    chain = (
        select(LedgerEvent)
        .where(LedgerEvent.tenant_id == tenant_id, LedgerEvent.seq <= head.seq)
        .order_by(LedgerEvent.seq)
    )
    with session.scalars(chain.execution_options(yield_per=1000)) as events:
        for event in events:
            seq += 1
            fault = _fault(event, seq, prev)
            if fault is not None:
                return fault
            prev = event.hash
    if (head.seq, head.hash) != (seq, prev):
        return f"the head names event {head.seq}, the chain ends with event {seq}"
    last = select(func.max(LedgerEvent.seq)).where(LedgerEvent.tenant_id == tenant_id)
    now = select(LedgerHead.seq, last.scalar_subquery()).where(LedgerHead.tenant_id == tenant_id)
    named, found = session.execute(now).one()
    if (found or 0) != named:
        return f"the head names event {named}, the chain ends with event {found or 0}"
    return None


def _fault(event: LedgerEvent, seq: int, prev: str) -> str | None:
    if event.seq != seq:
        return f"event {seq} is missing: {event.seq} follows {seq - 1}"
    if event.prev_hash != prev:
        return f"event {seq} does not follow event {seq - 1}: its previous hash differs"
    if link(prev, event.body) != event.hash:
        return f"event {seq} was changed: its body does not give its hash"
    told = json.loads(event.body)
    if (told["seq"], told["kind"], told["entity"]) != (seq, event.kind, event.entity_id):
        return f"event {seq} was changed: its columns differ from its body"
    return None


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
