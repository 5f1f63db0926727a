"""A salted hash tree over forgotten cells, so that a receipt can commit to them without naming any.

The tree is RFC 6962's (section 2.1): leaves and nodes are hashed under different prefixes, and a
tree of n > 1 leaves splits at the largest power of two below n. Each leaf is salted by its own
key, derived from the receipt's salt: showing one opens that cell and helps to guess no other.
"""

import hashlib
import hmac
from collections.abc import Sequence

from expunge.canonical import canonical_json


def cell_key(salt: bytes, instance_id: str, task: str) -> bytes:
    """The 32 bytes that open one cell's leaf: HMAC-SHA256 of the cell under the receipt's salt."""
    return hmac.digest(salt, canonical_json([instance_id, task]), "sha256")


def cell_leaf(key: bytes, instance_id: str, task: str) -> bytes:
    """The leaf's hash: sha256 of 0x00, the cell's key, and the cell as canonical JSON."""
    return hashlib.sha256(b"\x00" + key + canonical_json([instance_id, task])).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes in the given order; sha256 of nothing where there are none."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        paired = [
            hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest()
            for i in range(0, len(level) - 1, 2)
        ]
        level = paired + level[2 * len(paired) :]
    return level[0]


def cells_root(salt: bytes, cells: Sequence[tuple[str, str]]) -> str:
    """Hex root over (instance id, task) pairs; their order does not matter."""
    return merkle_root(
        [cell_leaf(cell_key(salt, *cell), *cell) for cell in sorted(set(cells))]
    ).hex()
