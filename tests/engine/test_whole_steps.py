import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import whole_steps
from engine.change_bits import MOST_BITS
from engine.tensor_coding import How, decode, encode


def drawn(seed: int, scale: float, shape: tuple[int, int] = (24, 60)) -> tuple[np.ndarray, ...]:
    """A parent and a child that moved by about `scale` of it."""
    random = np.random.default_rng(seed)
    parent = random.standard_normal(shape).astype(np.float32)
    change = random.standard_normal(shape) * random.random((shape[0], 1))
    return parent, (parent + scale * change).astype(np.float32)


@given(seed=st.integers(0, 2**16), scale=st.floats(-9, 3), bits=st.integers(3, MOST_BITS))
@settings(max_examples=80, deadline=None)
def test_steps_lead_to_the_same_bits_and_are_found_again(
    seed: int, scale: float, bits: int
) -> None:
    parent, child = drawn(seed, 10**scale)
    rounded = whole_steps.rounded(parent, child, bits)
    steps = whole_steps.found(parent, rounded)
    assert steps is not None
    assert np.array_equal(whole_steps.moved(parent, steps).view("u4"), rounded.view("u4"))
    most = np.abs(child - parent).max(1, keepdims=True)
    # Half a step, of which at least 2^(bits - 2) make the largest change, and a float's rounding.
    allowed = most / (2 ** (bits - 1) - 1) + 2.0**-23 * (np.abs(parent) + most)
    assert (np.abs(rounded.astype(float) - child) <= allowed).all()


def test_seven_bits_round_off_little_and_are_stored_in_a_fifth() -> None:
    parent, child = drawn(0, 0.05, (128, 256))
    rounded = whole_steps.rounded(parent, child, 7)
    lost = np.linalg.norm(rounded - child) / np.linalg.norm(child - parent)
    assert 0 < lost < 0.05
    before, after = (array.reshape(-1).view(np.uint8) for array in (parent, rounded))
    payload = encode(before, after, "F32", parent.shape)
    assert payload[0] == How.STEPS
    assert len(payload) < 0.21 * parent.nbytes
    assert np.array_equal(decode(before, payload, "F32", parent.shape), after)


def test_a_child_that_did_not_move_in_steps_has_none() -> None:
    assert whole_steps.found(*drawn(0, 0.01)) is None


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_number_that_is_not_finite_has_no_steps(odd: float) -> None:
    parent, child = drawn(0, 0.01)
    child = whole_steps.rounded(parent, child, 7)
    child[0, 0] = odd
    assert whole_steps.found(parent, child) is None


def test_what_stays_keeps_its_sign_even_of_zero() -> None:
    parent = np.array([[-0.0, 1.0]], np.float32)
    child = np.array([[-0.0, 1.5]], np.float32)
    steps = whole_steps.found(parent, child)
    assert steps is not None
    assert np.signbit(whole_steps.moved(parent, steps)[0, 0])
