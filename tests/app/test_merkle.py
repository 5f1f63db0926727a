import hashlib

from hypothesis import given
from hypothesis import strategies as st

from app.merkle import cell_key, cell_leaf, cells_root, merkle_root

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
