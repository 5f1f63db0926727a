"""Hash trees as RFC 9162 (section 2.1) has them: roots and proofs, over the ledger and over cells.

`expunge.tree` holds the hashes and the verifier's half. A receipt commits to its cells by a tree
whose leaves are salted, each by its own key: showing one opens that cell and helps to guess no
other.
"""

import hmac
from collections.abc import Callable, Sequence
from hashlib import sha256

from expunge.canonical import canonical_json
from expunge.tree import cell_hash, node_hash

Subtree = Callable[[int, int], bytes]
"""The root over the leaves from the first number up to, and without, the second."""


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes in the given order; sha256 of nothing where there are none."""
    if not leaves:
        return sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[2 * len(paired) :]
    return level[0]


def split(size: int) -> int:
    """The largest power of two below `size` > 1: how many leaves are in the left half."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """What leads from the leaf at `index` up to the root of `size` leaves (section 2.1.3.1)."""
    begin, end, path = 0, size, list[bytes]()
    while end - begin > 1:
        middle = begin + split(end - begin)
        if index < middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(begin, middle))
            begin = middle
    return path[::-1]


def consistency_path(old_size: int, size: int, subtree: Subtree) -> list[bytes]:
    """What shows that `size` leaves begin with the first `old_size` (section 2.1.4.1)."""
    if old_size in (0, size):
        return []
    begin, end, path = 0, size, list[bytes]()
    while end != old_size:
        middle = begin + split(end - begin)
        if old_size <= middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(begin, middle))
            begin = middle
    if begin > 0:
        path.append(subtree(begin, end))
    return path[::-1]


def cell_key(salt: bytes, instance_id: str, task: str) -> bytes:
    """The 32 bytes that open one cell's leaf: HMAC-SHA256 of the cell under the receipt's salt."""
    return hmac.digest(salt, canonical_json([instance_id, task]), "sha256")


def cell_leaf(key: bytes, instance_id: str, task: str) -> bytes:
    """The leaf's hash: sha256 of 0x00, the cell's key, and the cell as canonical JSON."""
    return cell_hash(key, canonical_json([instance_id, task]))


def cells_root(salt: bytes, cells: Sequence[tuple[str, str]]) -> str:
    """Hex root over (instance id, task) pairs; their order does not matter."""
    return merkle_root(cell_leaves(salt, sorted(set(cells)))).hex()


def cell_leaves(salt: bytes, cells: Sequence[tuple[str, str]]) -> list[bytes]:
    """The leaf hashes of (instance id, task) pairs, which must be sorted."""
    return [cell_leaf(cell_key(salt, *cell), *cell) for cell in cells]
