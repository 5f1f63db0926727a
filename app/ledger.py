"""The append-only, hash-chained log of every change of state, one chain a tenant.

An event's hash is sha256 over the hash before it and the event's canonical body, so that no event
can be changed, dropped, added or moved without breaking every later hash. A transaction's events
are written when it commits; the last of them seals the covered rows that the transaction changed
(`app.coverage`): it holds the digest of a `LedgerSeal`, which holds the digests of their columns.
"""

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, event, insert, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app import ledger_tree
from app.coverage import NAMES_SUBJECTS, SETS, key_of, tenant_of, tenant_of_owner
from app.db import database_now
from app.noting import Changed, Told, pending_of, taken
from app.prepared import Prepared, adopted, columns
from app.pseudonyms import Pseudonyms
from app.sealing import (
    Seal,
    fingerprint,
    seal_of,
    seal_of_members,
    set_seal,
    subjects_in,
)
from app.tables import Base, LedgerEvent, LedgerHead, LedgerSeal
from expunge.canonical import canonical_json

_Set = tuple[type[Base], str, Sequence[Sequence[Any]] | None]
"""Table, owner, and all members in their order where they are at hand."""

# Every transaction passes here: these are put together once, and no row becomes an object.
_EVENTS = Prepared(insert(LedgerEvent.__table__))  # type: ignore[arg-type]  # it is a Table
_SEALS = Prepared(insert(LedgerSeal.__table__))  # type: ignore[arg-type]
_HEADS = Prepared(
    update(LedgerHead)
    .where(LedgerHead.tenant_id == bindparam("of"))
    .values(seq=bindparam("to"), hash=bindparam("by"))
)
_LOCKED_HEAD = Prepared(
    select(*columns(LedgerHead))
    .where(LedgerHead.tenant_id == bindparam("tenant_id"))
    .with_for_update()
)

GENESIS = "0" * 64
UNTOLD = "rows.changed"
"""The event of a transaction that changed covered rows and told of nothing else."""


def append(
    session: Session,
    tenant_id: str,
    kind: str,
    entity_id: str,
    actor: str,
    payload: Mapping[str, Any] | None = None,
) -> None:
    """Tell the tenant's ledger what the caller's transaction does; written when that commits.

    The head row stays locked until that transaction ends, so call this after the slow work.
    """
    lock(session, tenant_id)
    told = Told(tenant_id, kind, entity_id, actor, dict(payload or {}))
    pending_of(session).told.append(told)


def lock(session: Session, tenant_id: str) -> LedgerHead:
    """Take the tenant's turn to write, until the transaction or its savepoint ends."""
    heads = pending_of(session).heads
    if tenant_id not in heads:
        heads[tenant_id] = _locked_head(session, tenant_id)
    return heads[tenant_id]


def link(prev_hash: str, body: str) -> str:
    """Hex sha256 of the previous hash and the event's canonical body."""
    return hashlib.sha256(bytes.fromhex(prev_hash) + body.encode()).hexdigest()


def body_of(
    seq: int,
    at: str,
    kind: str,
    entity: str,
    actor: str,
    payload: Mapping[str, Any],
    rows: str | None,
) -> str:
    """What is hashed of an event: canonical JSON, with `rows` only where it seals any."""
    told = {
        "seq": seq,
        "at": at,
        "kind": kind,
        "entity": entity,
        "actor": actor,
        "payload": payload,
    }
    return canonical_json(told if rows is None else {**told, "rows": rows}).decode()


def _locked_head(session: Session, tenant_id: str) -> LedgerHead:
    found = _LOCKED_HEAD.rows(session, {"tenant_id": tenant_id})
    if not found:
        raise LookupError(f"tenant {tenant_id} has no ledger head")
    return adopted(session, LedgerHead, found[0])


@event.listens_for(Session, "before_commit")
def _before_commit(session: Session) -> None:
    if not session.in_nested_transaction():
        write(session)


def write(session: Session) -> None:
    """Write the events that were told so far, the last one of each tenant with its seal.

    Every commit does it; call it only to read events back in the transaction that tells them.
    """
    session.flush()
    pending = taken(session)
    told: dict[str, list[Told]] = defaultdict(list)
    for one in pending.told:
        told[one.tenant_id].append(one)
    rows: dict[str, list[Changed]] = defaultdict(list)
    for new in pending.written:
        assert new.tenant_id is not None
        rows[new.tenant_id].append(new)
    for changed in pending.rows.values():
        if changed.deleted:
            tenant_id = changed.tenant_id
        else:
            # A new row of a savepoint that was rolled back is in the session no more.
            known = changed.row in session
            tenant_id = changed.tenant_id or tenant_of(session, changed.row) if known else None
        if tenant_id is not None:
            rows[tenant_id].append(changed)
    sets: dict[str, list[_Set]] = defaultdict(list)
    for (table, owner), members in pending.sets.items():
        tenant_id = tenant_of_owner(session, SETS[table], owner)
        if tenant_id is not None:
            sets[tenant_id].append((table, owner, members))
    for tenant_id in sorted({*told, *rows, *sets}):
        head = pending.heads.get(tenant_id) or _locked_head(session, tenant_id)
        sealed = _sealed(session, head, rows[tenant_id], sets[tenant_id])
        untold = Told(tenant_id, UNTOLD, tenant_id, "service", {})
        _extend(session, head, told[tenant_id] or [untold], sealed)
    session.flush()


def seal_rows(session: Session, tenant_id: str, seals: Mapping[str, Seal], actor: str) -> None:
    """Seal rows that no transaction has sealed, in an event of their own, `rows.adopted`."""
    head = lock(session, tenant_id)
    told = Told(tenant_id, "rows.adopted", tenant_id, actor, {"rows": len(seals)})
    _extend(session, head, [told], dict(seals))


def seal_key_of(head: LedgerHead) -> bytes:
    """The key of a tenant's seals, made at its first use."""
    if head.seal_key is None:
        head.seal_key = secrets.token_bytes(32)
    return head.seal_key


def _sealed(
    session: Session,
    head: LedgerHead,
    rows: list[Changed],
    sets: list[_Set],
) -> dict[str, Seal | None]:
    """Seals by `table/key`; None for a row that is gone."""
    if not rows and not sets:
        return {}
    key = seal_key_of(head)
    pseudonyms = Pseudonyms(session, head.tenant_id, make=True)
    sealed: dict[str, Seal | None] = {}
    for changed in rows:
        table, row_key = changed.row.__tablename__, key_of(changed.row)
        if changed.deleted:
            sealed[f"{table}/{row_key}"] = None
            continue
        values = {column: getattr(changed.row, column) for column in changed.columns}
        for column, value in values.items():
            if (table, column) in NAMES_SUBJECTS:
                pseudonyms.prepare(subjects_in(column, value))
        name = f"{table}/{row_key}"
        # A row that was written by itself may have been changed by a flush since.
        sealed[name] = {
            **(sealed.get(name) or {}),
            **seal_of(key, table, row_key, values, pseudonyms),
        }
    for table_of_set, owner, members in sets:
        name = f"{table_of_set.__tablename__}/{owner}"
        if members is None:
            sealed[name] = set_seal(session, key, table_of_set, owner, pseudonyms)
        else:
            sealed[name] = seal_of_members(key, table_of_set, owner, [members], pseudonyms)
    return sealed


def _extend(
    session: Session, head: LedgerHead, told: list[Told], sealed: Mapping[str, Seal | None]
) -> None:
    """Add events to the chain that `head` ends, and what seals the rows to the last of them."""
    at = _stamp(database_now(session))
    whose = {"tenant_id": head.tenant_id}
    first = head.seq
    rows: str | None = None
    if sealed:
        text = canonical_json({"key": fingerprint(seal_key_of(head)), "rows": sealed}).decode()
        rows = hashlib.sha256(text.encode()).hexdigest()
        _SEALS.run(session, {**whose, "seq": first + len(told), "sealed": text})
    events: list[dict[str, Any]] = []
    prev = head.hash
    for seq, one in enumerate(told, first + 1):
        last = rows if seq == first + len(told) else None
        body = body_of(seq, at, one.kind, one.entity_id, one.actor, one.payload, last)
        known = {"kind": one.kind, "entity_id": one.entity_id, "body": body, "prev_hash": prev}
        prev = link(prev, body)
        events.append({**whose, "seq": seq, **known, "hash": prev})
    _EVENTS.run(session, *events)
    _HEADS.run(session, {"of": head.tenant_id, "to": first + len(told), "by": prev})
    set_committed_value(head, "seq", first + len(told))
    set_committed_value(head, "hash", prev)
    if head.seq // ledger_tree.TILE > first // ledger_tree.TILE:
        ledger_tree.add_tiles(session, head.tenant_id, first, head.seq)


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
