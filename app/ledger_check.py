"""Whether a tenant's ledger holds: each event, each seal, the tree's tiles, and every covered row.

Faults are sentences that name the event, or the row and its column. Whoever could write to the
whole database and holds its keys could forge a ledger that holds in itself: against that help the
signed heads that others keep.
"""

import json
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, islice
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.ledger import GENESIS
from app.ledger_tree import LEVELS, TILE
from app.merkle import merkle_root
from app.row_check import sealed_now
from app.sealed_rows import SealedRows
from app.sealing import Seal, fingerprint
from app.tables import LedgerEvent, LedgerHead, LedgerSeal, LedgerTile

_CHUNK = 1000
_HEX = 64


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
    with SealedRows() as sealed:
        replay = _Replay(session, head, sealed)
        broken = False
        for fault in chain(replay.events(), replay.tiles()):
            broken = True
            yield fault
        if not broken:
            yield from _row_faults(session, head, replay)


def unsealed(session: Session, tenant_id: str) -> dict[str, Seal]:
    """Seals for the rows, and columns of rows, that the ledger says nothing of yet."""
    head = session.get_one(LedgerHead, tenant_id)
    found: dict[str, Seal] = {}
    with SealedRows() as sealed:
        for fault in _Replay(session, head, sealed).events():
            raise ValueError(fault)
        if head.seal_key is None:
            return found
        for one in sealed_now(session, head, make=True):
            known = sealed.take(one.name)
            if known is None:
                found[one.name] = one.seal
            elif fresh := {name: one.seal[name] for name in one.seal if name not in known}:
                found[one.name] = fresh
    return found


@dataclass
class _Replay:
    """What the events say, gathered while they are checked."""

    session: Session
    head: LedgerHead
    sealed: SealedRows
    """The newest digests of each row."""
    erased: set[str] = field(default_factory=set)
    """Pseudonyms of subjects that were erased."""
    _roots: list[bytes] = field(default_factory=list)
    """Of complete groups of 256 events."""
    _other_key: bool = False
    """Whether a seal was found that another key made; it is told of once."""
    _seals: Iterator[tuple[int, str]] = field(default_factory=lambda: iter(()))
    _seal: tuple[int, str] | None = None
    """The first one of those left that no event so far has named."""

    def events(self) -> Iterator[str]:
        """What is wrong with the chain and its seals; its end must be the head's.

        Seals are read beside the events that name them. Where the chain breaks it is left.
        """
        with closing(self._read_seals()) as self._seals:
            self._seal = next(self._seals, None)
            yield from self._events()

    def _events(self) -> Iterator[str]:
        events = select(
            LedgerEvent.seq,
            LedgerEvent.kind,
            LedgerEvent.entity_id,
            LedgerEvent.body,
            LedgerEvent.prev_hash,
            LedgerEvent.hash,
        ).where(LedgerEvent.tenant_id == self.head.tenant_id)
        ordered = events.order_by(LedgerEvent.seq).execution_options(yield_per=_CHUNK)
        seq, prev = 0, GENESIS
        before = bytes.fromhex(prev)
        leaves: list[bytes] = []
        with self.session.connection().execute(ordered) as rows:
            for number, kind, entity, body, prev_hash, hash in rows:
                seq += 1
                content = body.encode() if isinstance(body, str) else b""
                link = sha256(before + content).digest()
                end = f',"seq":{seq}}}'
                # Once the body is authentic, its canonical text shows what parsing it would.
                if (
                    number != seq
                    or prev_hash != prev
                    or link.hex() != hash
                    or f'"entity":"{entity}","kind":"{kind}","payload":' not in body
                    or not body.endswith(end)
                ):
                    yield _event_fault(number, prev_hash, seq, prev)
                    return
                prev, before = hash, link
                leaves.append(sha256(b"\x00" + content).digest())
                if len(leaves) == TILE:
                    self._roots.append(merkle_root(leaves))
                    leaves.clear()
                digest_end = -len(end) - 1
                if body[digest_end] == '"':  # what stands before the number is no payload
                    yield from self._check_seal(seq, body[digest_end - _HEX : digest_end])
                if kind == "subject.erased":
                    self.erased.add(entity)
        if (self.head.seq, self.head.hash) != (seq, prev):
            yield (
                f"the head names event {self.head.seq} with the hash {self.head.hash:.12}...,"
                f" the chain ends with event {seq} and {prev:.12}..."
            )
        yield from self._seals_before(None)

    def _read_seals(self) -> Generator[tuple[int, str]]:
        kept = select(LedgerSeal.seq, LedgerSeal.sealed).where(
            LedgerSeal.tenant_id == self.head.tenant_id
        )
        ordered = kept.order_by(LedgerSeal.seq).execution_options(yield_per=_CHUNK)
        with self.session.connection().execute(ordered) as rows:
            yield from rows

    def _check_seal(self, seq: int, wanted: str) -> Iterator[str]:
        """What is wrong with the seal that an event names, or with what lies before it."""
        yield from self._seals_before(seq)
        if self._seal is None or self._seal[0] != seq:
            yield f"the seal of event {seq} is missing"
            return
        text = self._seal[1]
        self._seal = next(self._seals, None)
        if sha256(text.encode()).hexdigest() != wanted:
            yield f"the seal of event {seq} was changed: the event names another"
        else:
            yield from self._learn(seq, json.loads(text))

    def _seals_before(self, seq: int | None) -> Iterator[str]:
        while self._seal is not None and (seq is None or self._seal[0] < seq):
            yield f"the seal of event {self._seal[0]} was added: the event names none"
            self._seal = next(self._seals, None)

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

    def _learn(self, seq: int, told: dict[str, Any]) -> Iterator[str]:
        key = self.head.seal_key
        if key is not None and told["key"] == fingerprint(key):
            for name, seal in told["rows"].items():
                self.sealed.learn(name, seal)
        elif not self._other_key:
            self._other_key = True
            yield f"the key of the seals was changed: event {seq} was sealed by another"


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
    for now in sealed_now(session, head, make=False):
        known = replay.sealed.take(now.name)
        if now.seal == known and not now.pseudonyms and not now.unreadable:
            continue
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
    for name, seal in replay.sealed.left():
        table, _, key = name.partition("/")
        if seal.get("count") != "0":
            yield f"{table} {key} is missing: the ledger sealed it"
