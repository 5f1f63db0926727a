"""Whether a ledger may be believed, checked offline: heads, events and proofs, by their hashes.

A head is the signed root of a hash tree (RFC 9162) over every event. Who keeps one can later have
it shown that the ledger has only grown since, and that an event was in it.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from pydantic import ValidationError

from expunge.answers import ConsistencyProof, InclusionProof, LedgerHead
from expunge.canonical import canonical_json
from expunge.errors import LedgerInvalid
from expunge.tree import ProofInvalid, leaf_hash, node_hash, verify_consistency, verify_inclusion
from expunge.verify import Keys

GENESIS: Final = "0" * 64
"""What stands for the hash before the first event's."""
_BODY: Final = ("actor", "at", "entity", "kind", "payload", "rows", "seq")
BUNDLE: Final = "expunge ledger 1"
"""How the first line of an exported ledger says what it is."""


def verify_head(head: LedgerHead, keys: Keys) -> None:
    """Raise LedgerInvalid unless a key of `keys` signed the head."""
    key = keys.get(head.signature.keyid)
    if key is None:
        raise LedgerInvalid(
            f"the head is signed by the key {head.signature.keyid!r}, which is not among those"
            f" known: {', '.join(sorted(keys)) or 'none'}"
        )
    signed = canonical_json(head.model_dump(exclude={"signature"}))
    try:
        key.verify(base64.b64decode(head.signature.sig, validate=True), signed)
    except (InvalidSignature, binascii.Error, ValueError):
        raise LedgerInvalid("the head's signature does not hold: it was altered") from None


def verify_growth(old: LedgerHead, new: LedgerHead, proof: ConsistencyProof) -> None:
    """Raise LedgerInvalid unless the newer head's ledger begins with the older head's."""
    if old.tenant != new.tenant:
        raise LedgerInvalid(
            f"the heads are of two ledgers: {old.tenant!r} before, {new.tenant!r} now"
        )
    if new.seq < old.seq:
        raise LedgerInvalid(
            f"the ledger shrank: it had {old.seq} events at {old.at}, now it has {new.seq}"
        )
    try:
        path = _hashes(proof.path)
        verify_consistency(old.seq, _hash(old.root), new.seq, _hash(new.root), path)
    except ProofInvalid as error:
        raise LedgerInvalid(
            f"the past was rewritten: the ledger of {new.seq} events does not begin with the"
            f" {old.seq} events that it had at {old.at} ({error})"
        ) from None


def verify_event(proof: InclusionProof, head: LedgerHead) -> Mapping[str, Any]:
    """The event, once it is seen to be in the head's tree; raises LedgerInvalid if it is not."""
    if proof.size != head.seq:
        raise LedgerInvalid(f"the proof is for {proof.size} events, the head for {head.seq}")
    try:
        leaf, path = leaf_hash(proof.body.encode()), _hashes(proof.path)
        verify_inclusion(leaf, proof.seq - 1, proof.size, path, _hash(head.root))
        told = json.loads(proof.body)
    except ValueError as error:
        raise LedgerInvalid(f"event {proof.seq} is not in the ledger: {error}") from None
    if not isinstance(told, dict) or told.get("seq") != proof.seq:
        raise LedgerInvalid(f"event {proof.seq} is not in the ledger: its body is another's")
    return told


@dataclass(frozen=True)
class Bundle:
    """An exported ledger that holds."""

    head: LedgerHead
    events: int


def verify_bundle(lines: Iterable[str], keys: Keys) -> Bundle:
    """Check an exported ledger event by event against its signed head.

    The first line holds the head, each other line an event. Raises LedgerInvalid with the first
    thing that is wrong, and names the event.
    """
    numbered = enumerate(lines)
    head = _bundle_head(next(numbered, (0, ""))[1])
    verify_head(head, keys)
    prev, seq, forest = GENESIS, 0, list[tuple[int, bytes]]()
    for seq, line in numbered:
        body, link = _event(line, seq)
        if link["prev_hash"] != prev:
            raise LedgerInvalid(f"event {seq} does not follow event {seq - 1}")
        prev = hashlib.sha256(bytes.fromhex(prev) + body).hexdigest()
        if link["hash"] != prev:
            raise LedgerInvalid(f"event {seq} was changed: its body does not give its hash")
        _grow(forest, leaf_hash(body))
    if (seq, prev) != (head.seq, head.hash):
        raise LedgerInvalid(f"the head names event {head.seq}, the events end with number {seq}")
    if _root(forest).hex() != head.root:
        raise LedgerInvalid("the events do not give the head's root")
    return Bundle(head, seq)


def _bundle_head(line: str) -> LedgerHead:
    try:
        first = json.loads(line)
        if first["bundle"] != BUNDLE:
            raise KeyError
        return LedgerHead.model_validate(first["head"])
    except (ValueError, KeyError, TypeError, ValidationError):
        raise LedgerInvalid("the file is no exported ledger: its first line is no head") from None


def _event(line: str, seq: int) -> tuple[bytes, Mapping[str, Any]]:
    """An event's canonical body, and the whole line."""
    try:
        event = json.loads(line)
        body = {name: event[name] for name in _BODY if event.get(name) is not None}
        if event["seq"] != seq:
            raise LedgerInvalid(f"event {seq} is missing: event {event['seq']!r:.20} is there")
        if not {"prev_hash", "hash"} <= set(event):
            raise KeyError
        return canonical_json(body), event
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LedgerInvalid(f"event {seq} cannot be read") from None


def _grow(forest: list[tuple[int, bytes]], leaf: bytes) -> None:
    """Add a leaf to the complete trees that make up the whole, largest first."""
    size, hash = 1, leaf
    while forest and forest[-1][0] == size:
        size, hash = 2 * size, node_hash(forest.pop()[1], hash)
    forest.append((size, hash))


def _root(forest: Sequence[tuple[int, bytes]]) -> bytes:
    if not forest:
        return hashlib.sha256(b"").digest()
    hash = forest[-1][1]
    for _, left in reversed(forest[:-1]):
        hash = node_hash(left, hash)
    return hash


def _hashes(path: Sequence[str]) -> list[bytes]:
    return [_hash(step) for step in path]


def _hash(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ProofInvalid(f"{text!r:.80} is no hash")
    return raw
