"""The hash tree over a tenant's events: leaf n - 1 is the body of event n.

Complete subtrees of 256 and 65536 leaves are kept as tiles, written with the event that completes
them, so that a root or a proof over a million events reads some hundred rows.
"""

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.merkle import Subtree, consistency_path, inclusion_path, merkle_root, split
from app.tables import LedgerEvent, LedgerTile
from expunge.tree import leaf_hash, node_hash

TILE = 256
LEVELS = (1, 2)


def root(session: Session, tenant_id: str, size: int) -> bytes:
    """The root over the first `size` events."""
    return _subtree(session, tenant_id)(0, size)


def inclusion(session: Session, tenant_id: str, seq: int, size: int) -> list[bytes]:
    """The path from event `seq` up to the root over the first `size` events."""
    return inclusion_path(seq - 1, size, _subtree(session, tenant_id))


def consistency(session: Session, tenant_id: str, old_size: int, size: int) -> list[bytes]:
    """The path that shows that `size` events begin with the first `old_size`."""
    return consistency_path(old_size, size, _subtree(session, tenant_id))


def add_tiles(session: Session, tenant_id: str, old_size: int, size: int) -> None:
    """Keep the subtrees that became complete while the ledger grew from `old_size` events."""
    subtree = _subtree(session, tenant_id)
    for level in LEVELS:
        span = TILE**level
        for number in range(old_size // span, size // span):
            kept = {"tenant_id": tenant_id, "level": level, "number": number}
            hash = subtree(number * span, (number + 1) * span)
            session.execute(insert(LedgerTile), [{**kept, "hash": hash}])


def _subtree(session: Session, tenant_id: str) -> Subtree:
    """Reads leaves and tiles of one tenant; a tile that is not kept is computed."""

    def leaves(begin: int, end: int) -> list[bytes]:
        bodies = select(LedgerEvent.body).where(
            LedgerEvent.tenant_id == tenant_id, LedgerEvent.seq > begin, LedgerEvent.seq <= end
        )
        found = session.scalars(bodies.order_by(LedgerEvent.seq))
        return [leaf_hash(body.encode()) for body in found]

    def tiles(level: int, begin: int, end: int) -> list[bytes]:
        kept = select(LedgerTile.hash).where(
            LedgerTile.tenant_id == tenant_id,
            LedgerTile.level == level,
            LedgerTile.number >= begin // TILE**level,
            LedgerTile.number < end // TILE**level,
        )
        return list(session.scalars(kept.order_by(LedgerTile.number)))

    def subtree(begin: int, end: int) -> bytes:
        size = end - begin
        if size >= TILE and size & (size - 1) == 0:
            # A power of two of leaves that the standard's splits give always begins at a multiple.
            for level in reversed(LEVELS):
                found = tiles(level, begin, end) if size >= TILE**level else []
                if found and len(found) == size // TILE**level:
                    return merkle_root(found)
        if size <= TILE:
            return merkle_root(leaves(begin, end))
        middle = begin + split(size)
        return node_hash(subtree(begin, middle), subtree(middle, end))

    return subtree
