"""Hash trees as RFC 9162 (section 2.1) has them: what a verifier must be able to compute.

Leaves and nodes are hashed under different prefixes, so that no node passes for a leaf. A tree of
n > 1 leaves splits at the largest power of two below n.
"""

import hashlib
import hmac
from collections.abc import Sequence


class ProofInvalid(ValueError):
    """The proof does not lead to the root that it was given for."""


def leaf_hash(content: bytes) -> bytes:
    """The 32 bytes of a leaf: sha256 of 0x00 and its content."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The 32 bytes of a node: sha256 of 0x01 and its two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def cell_hash(key: bytes, cell: bytes) -> bytes:
    """The leaf of a receipt's cell: its content is the cell's 32 byte key, then the cell."""
    return leaf_hash(key + cell)


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Raise ProofInvalid unless `leaf` is the one at `index` of the tree (section 2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofInvalid(f"a tree of {size} leaves has none at index {index}")
    here, last, found = index, size - 1, leaf
    for step in path:
        if last == 0:
            raise ProofInvalid("the path is longer than the tree is high")
        if here & 1 or here == last:
            found = node_hash(step, found)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            found = node_hash(found, step)
        here, last = here >> 1, last >> 1
    if last != 0 or not hmac.compare_digest(found, root):
        raise ProofInvalid("the path does not lead to the tree's root")


def verify_consistency(
    old_size: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]
) -> None:
    """Raise ProofInvalid unless the tree has the old one as its beginning (section 2.1.4.2)."""
    if old_size > size:
        raise ProofInvalid(f"a tree of {size} leaves cannot hold an older one of {old_size}")
    if old_size in (0, size):
        if path or (old_size == size and not hmac.compare_digest(old_root, root)):
            raise ProofInvalid("trees of one size have one root, and nothing lies between them")
        return
    if old_size & (old_size - 1) == 0:
        path = [old_root, *path]
    if not path:
        raise ProofInvalid("the path is empty")
    here, last = old_size - 1, size - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    old_found = found = path[0]
    for step in path[1:]:
        if last == 0:
            raise ProofInvalid("the path is longer than the tree is high")
        if here & 1 or here == last:
            old_found, found = node_hash(step, old_found), node_hash(step, found)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            found = node_hash(found, step)
        here, last = here >> 1, last >> 1
    same = hmac.compare_digest(old_found, old_root) and hmac.compare_digest(found, root)
    if last != 0 or not same:
        raise ProofInvalid("the newer tree does not begin with the older one")
