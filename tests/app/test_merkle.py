import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.merkle import (
    cell_key,
    cell_leaf,
    cells_root,
    consistency_path,
    inclusion_path,
    merkle_root,
)
from expunge.tree import ProofInvalid, leaf_hash, verify_consistency, verify_inclusion

LEAVES = st.lists(st.binary(min_size=32, max_size=32), max_size=40)
CELLS = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=20)
SALT = bytes(range(32))


def rfc_6962_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = rfc_6962_root(leaves[:split]), rfc_6962_root(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@given(LEAVES)
def test_the_root_is_that_of_rfc_6962(leaves: list[bytes]) -> None:
    assert merkle_root(leaves) == rfc_6962_root(leaves)


@given(CELLS, st.randoms(use_true_random=False))
def test_the_order_of_cells_and_their_repetition_do_not_matter(
    cells: list[tuple[str, str]], random: object
) -> None:
    shuffled = cells + cells[:3]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert cells_root(SALT, shuffled) == cells_root(SALT, cells)


@given(CELLS, CELLS)
def test_other_cells_give_another_root(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    assert (cells_root(SALT, one) == cells_root(SALT, other)) == (set(one) == set(other))


def test_another_salt_gives_another_root() -> None:
    cells = [("img-1", "digit")]
    assert cells_root(SALT, cells) != cells_root(SALT[::-1], cells)


def test_a_leaf_opens_with_its_own_key_only() -> None:
    key = cell_key(SALT, "img-1", "digit")
    assert cells_root(SALT, [("img-1", "digit")]) == cell_leaf(key, "img-1", "digit").hex()
    assert key != cell_key(SALT, "img-1", "parity")
    assert key != cell_key(SALT, "img-1digit", "")


NUMBERED = [leaf_hash(str(n).encode()) for n in range(70)]


def subtree(begin: int, end: int) -> bytes:
    return merkle_root(NUMBERED[begin:end])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 64, 70])
def test_every_leaf_is_proved_and_no_other_is(size: int) -> None:
    root = subtree(0, size)
    for index in range(size):
        path = inclusion_path(index, size, subtree)
        verify_inclusion(NUMBERED[index], index, size, path, root)
        for leaf, place, of, way in [
            (NUMBERED[index - 1] if size > 1 else bytes(32), index, size, path),
            (NUMBERED[index], (index + 1) % size if size > 1 else 1, size, path),
            (NUMBERED[index], index, size, [*path, root]),
            (NUMBERED[index], index, size, path[:-1] or [root]),
            (NUMBERED[index], index + size, size, path),
        ]:
            with pytest.raises(ProofInvalid):
                verify_inclusion(leaf, place, of, way, root)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 8, 13, 32, 47])
def test_every_older_tree_is_proved_and_no_other_is(size: int) -> None:
    root = subtree(0, size)
    for old in range(size + 1):
        path, old_root = consistency_path(old, size, subtree), subtree(0, old)
        verify_consistency(old, old_root, size, root, path)
        wrong = [(old, old_root, [*path, root]), (size + 1, old_root, path)]
        if old > 0:
            wrong.append((old, bytes(32), path))
        if 0 < old < size:
            wrong += [(old, old_root, path[:-1]), (old, old_root, [*path[:-1], bytes(32)])]
        for older, hash, way in wrong:
            with pytest.raises(ProofInvalid):
                verify_consistency(older, hash, size, root, way)


def test_the_proofs_of_rfc_9162_are_found() -> None:
    """Section 2.1.5: the tree of seven leaves d0 to d6, whose inner nodes it calls a to l."""
    a, b = NUMBERED[0], NUMBERED[1]
    f, j = NUMBERED[5], NUMBERED[6]
    g, h, i = subtree(0, 2), subtree(2, 4), subtree(4, 6)
    k, l = subtree(0, 4), subtree(4, 7)  # noqa: E741 - the standard's name
    assert inclusion_path(0, 7, subtree) == [b, h, l]
    assert inclusion_path(3, 7, subtree) == [NUMBERED[2], g, l]
    assert inclusion_path(4, 7, subtree) == [f, j, k]
    assert inclusion_path(6, 7, subtree) == [i, k]
    assert consistency_path(3, 7, subtree) == [NUMBERED[2], NUMBERED[3], g, l]
    assert consistency_path(4, 7, subtree) == [l]
    assert consistency_path(6, 7, subtree) == [i, j, k]
    assert inclusion_path(1, 2, subtree) == [a]
