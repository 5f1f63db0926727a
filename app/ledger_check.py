"""Whether a tenant's ledger holds: each event, each seal, the tree's tiles, and every covered row.

Faults are sentences that name the event, or the row and its column. Whoever could write to the
whole database and holds its keys could forge a ledger that holds in itself: against that help the
signed heads that others keep.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.ledger import GENESIS
from app.ledger_tree import LEVELS, TILE
from app.merkle import merkle_root
from app.row_check import sealed_now
from app.sealing import Seal, fingerprint
from app.tables import LedgerEvent, LedgerHead, LedgerSeal, LedgerTile
from expunge.tree import leaf_hash

_CHUNK = 1000


def verify(session: Session, tenant_id: str) -> str | None:
    """The first thing wrong with a tenant's ledger as one sentence, or None."""
    return next(faults(session, tenant_id), None)


def some_faults(session: Session, tenant_id: str, limit: int) -> list[str]:
    """Up to `limit` things that are wrong."""
    return list(islice(faults(session, tenant_id), limit))


def faults(session: Session, tenant_id: str) -> Iterator[str]:
    """Everything wrong with a tenant's ledger, as of the moment at which it is first read.

    Where the chain itself is broken, rows are not looked at: what it says of them is void.
    """
    if not session.in_transaction() and session.get_bind().dialect.name == "postgresql":
        # One snapshot for events and rows, which others go on changing together.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    head = session.get(LedgerHead, tenant_id, populate_existing=True)
    if head is None:
        yield f"tenant {tenant_id} has no ledger head"
        return
    replay = _Replay(session, head)
    broken = False
    for fault in chain(replay.events(), replay.seals(), replay.tiles()):
        broken = True
        yield fault
    if not broken:
        yield from _row_faults(session, head, replay)


def unsealed(session: Session, tenant_id: str) -> dict[str, Seal]:
    """Seals for the rows, and columns of rows, that the ledger says nothing of yet."""
    head = session.get_one(LedgerHead, tenant_id)
    replay = _Replay(session, head)
    for fault in chain(replay.events(), replay.seals()):
        raise ValueError(fault)
    found: dict[str, Seal] = {}
    if head.seal_key is None:
        return found
    for one in sealed_now(session, head, make=True):
        known = replay.sealed.get(one.name, {})
        fresh = {column: digest for column, digest in one.seal.items() if column not in known}
        if fresh or one.name not in replay.sealed:
            found[one.name] = fresh
    return found


@dataclass
class _Replay:
    """What the events say, gathered while they are checked."""

    session: Session
    head: LedgerHead
    sealed: dict[str, Seal] = field(default_factory=dict)
    """The newest digests of each row, by `table/key`."""
    erased: set[str] = field(default_factory=set)
    """Pseudonyms of subjects that were erased."""
    _promised: dict[int, str] = field(default_factory=dict)
    """Digests of seals by the event that names them."""
    _roots: list[bytes] = field(default_factory=list)
    """Of complete groups of 256 events."""

    def events(self) -> Iterator[str]:
        """What is wrong with the chain; its end must be the head's."""
        tenant_id, seq, prev = self.head.tenant_id, 0, GENESIS
        sha256 = hashlib.sha256
        events = select(
            LedgerEvent.seq,
            LedgerEvent.kind,
            LedgerEvent.entity_id,
            LedgerEvent.body,
            LedgerEvent.prev_hash,
            LedgerEvent.hash,
        ).where(LedgerEvent.tenant_id == tenant_id)
        leaves: list[bytes] = []
        ordered = events.order_by(LedgerEvent.seq).execution_options(yield_per=_CHUNK)
        with self.session.execute(ordered) as rows:
            for number, kind, entity, body, prev_hash, hash in rows:
                seq += 1
                follows = number == seq and prev_hash == prev
                content = body.encode() if isinstance(body, str) else b""
                # Once the body is authentic, its canonical text shows what parsing it would.
                if (
                    not follows
                    or sha256(bytes.fromhex(prev) + content).hexdigest() != hash
                    or f'"entity":"{entity}","kind":"{kind}","payload":' not in body
                    or not body.endswith(f',"seq":{seq}}}')
                ):
                    yield _event_fault(number, prev_hash, seq, prev)
                    return
                prev = hash
                leaves.append(leaf_hash(content))
                if len(leaves) == TILE:
                    self._roots.append(merkle_root(leaves))
                    leaves.clear()
                digest = json.loads(body).get("rows") if '"rows":"' in body else None
                if digest is not None:
                    self._promised[seq] = digest
                if kind == "subject.erased":
                    self.erased.add(entity)
        if (self.head.seq, self.head.hash) != (seq, prev):
            yield (
                f"the head names event {self.head.seq} with the hash {self.head.hash:.12}...,"
                f" the chain ends with event {seq} and {prev:.12}..."
            )

    def seals(self) -> Iterator[str]:
        """What is wrong with the seals: each must be the one that its event names."""
        promised = dict(self._promised)
        kept = select(LedgerSeal.seq, LedgerSeal.sealed).where(
            LedgerSeal.tenant_id == self.head.tenant_id
        )
        key = self.head.seal_key
        ordered = kept.order_by(LedgerSeal.seq).execution_options(yield_per=_CHUNK)
        with self.session.execute(ordered) as rows:
            for seq, text in rows:
                wanted = promised.pop(seq, None)
                if wanted is None:
                    yield f"the seal of event {seq} was added: the event names none"
                elif hashlib.sha256(text.encode()).hexdigest() != wanted:
                    yield f"the seal of event {seq} was changed: the event names another"
                else:
                    told = json.loads(text)
                    if key is None or told["key"] != fingerprint(key):
                        yield f"the key of the seals was changed: event {seq} was sealed by another"
                        return
                    self._learn(told["rows"])
        for seq in promised:
            yield f"the seal of event {seq} is missing"

    def tiles(self) -> Iterator[str]:
        """What is wrong with the tree's tiles."""
        kept = select(LedgerTile.level, LedgerTile.number, LedgerTile.hash).where(
            LedgerTile.tenant_id == self.head.tenant_id
        )
        roots = {1: self._roots}
        for level in LEVELS[1:]:
            below = roots[level - 1]
            whole = range(0, len(below) - TILE + 1, TILE)
            roots[level] = [merkle_root(below[i : i + TILE]) for i in whole]
        for level, number, hash in self.session.execute(kept):
            known = roots.get(level, [])
            if number >= len(known) or number < 0 or known[number] != hash:
                yield f"tile {number} of level {level} of the hash tree is not that of its events"

    def _learn(self, rows: dict[str, Seal | None]) -> None:
        for name, seal in rows.items():
            if seal is None:
                self.sealed.pop(name, None)
            else:
                known = self.sealed.setdefault(name, {})
                known.update({sys.intern(column): digest for column, digest in seal.items()})


def _event_fault(number: int, prev_hash: str, seq: int, prev: str) -> str:
    """What is wrong with the event that was read as the one of number `seq`."""
    if number > seq:
        return f"event {seq} is missing: event {number} follows event {seq - 1}"
    if number < seq:
        return f"event {number} was added: the first one is event 1"
    if prev_hash != prev:
        return f"event {seq} does not follow event {seq - 1}: its previous hash differs"
    return f"event {seq} was changed: its body does not give its hash, or its columns differ"


def _row_faults(session: Session, head: LedgerHead, replay: _Replay) -> Iterator[str]:
    left = replay.sealed
    for now in sealed_now(session, head, make=False):
        known = left.pop(now.name, None)
        told = f"{now.table} {now.key}"
        if known is None:
            yield f"{told} was added: no event tells of it"
            continue
        for column in now.unreadable:
            yield f"{told}: {column} was changed: it holds no value of its type"
        if "members" in known and now.seal != known:
            yield (
                f"{told}: a row was changed, added or dropped:"
                f" {known['count']} were sealed, {now.seal.get('count', 'none')} found"
            )
            continue
        for column, digest in now.seal.items():
            if known.get(column) != digest:
                yield f"{told}: {column} was changed: it is not what the ledger sealed"
        for name in now.pseudonyms:
            if name not in replay.erased:
                yield f"{told}: a subject was replaced by {name}, which no event tells of"
    for name, seal in left.items():
        table, _, key = name.partition("/")
        if seal.get("count") != "0":
            yield f"{table} {key} is missing: the ledger sealed it"
