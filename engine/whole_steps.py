"""A change of weights in whole steps: few bits an element to store, and exact when restored.

Every row of a matrix moves by small whole multiples of a step of its own, and that step is a power
of two: a multiple of it is exact in double precision and the sum is rounded once, so IEEE 754 makes
the result the same everywhere. It is a uniform quantiser of the update; at 7 bits what it rounds
off is about 2 % of the update's norm, less than one mini-batch differs from the next.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.change_bits import MOST_BITS

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Steps:
    """How each row moved."""

    exponents: NDArray[np.int16]
    """[R]: the row's step is 2 to this power."""
    multiples: NDArray[np.int16]
    """[R, C]"""


def rounded(parent: Floats, child: Floats, bits: int) -> Floats:
    """`child` with its change from `parent` rounded to whole steps of so many bits; [R, C] each."""
    change = child.astype(np.float64) - parent
    most = np.abs(change).max(axis=1, initial=0.0) / (2 ** (bits - 1) - 1)
    mantissa, exponents = np.frexp(most)
    exponents -= mantissa == 0.5  # that is a power of two itself
    return moved(parent, _in_steps(change, exponents.astype(np.int16)))


def moved(parent: Floats, steps: Steps) -> Floats:
    """Where the steps lead from `parent`, [R, C]; what does not move keeps its very bits."""
    with np.errstate(over="ignore", invalid="ignore"):  # of a damaged file
        change = np.ldexp(steps.multiples.astype(np.float64), steps.exponents[:, None])
        return np.where(steps.multiples == 0, parent, (parent + change).astype(np.float32))


def found(parent: Floats, child: Floats) -> Steps | None:
    """The longest steps that lead from `parent` to `child`, [R, C] each, bit for bit.

    None where there are none with at most `MOST_BITS`, as between any two other tensors.
    """
    if not (np.isfinite(parent).all() and np.isfinite(child).all()):
        return None
    change = child.astype(np.float64) - parent
    _, exponents = np.frexp(np.abs(change).max(axis=1, initial=0.0))
    exponents = exponents.astype(np.int16)
    multiples = np.zeros(parent.shape, np.int16)
    open_ = np.arange(len(parent))
    for _ in range(MOST_BITS - 1):
        exponents[open_] -= 1
        steps = _in_steps(change[open_], exponents[open_])
        multiples[open_] = steps.multiples
        same = _bits(moved(parent[open_], steps)) == _bits(child[open_])
        open_ = open_[~same.all(axis=1)]
        if not len(open_):
            return Steps(exponents, multiples)
    return None


def _in_steps(change: NDArray[np.float64], exponents: NDArray[np.int16]) -> Steps:
    return Steps(exponents, np.rint(np.ldexp(change, -exponents[:, None])).astype(np.int16))


def _bits(numbers: Floats) -> NDArray[np.unsignedinteger[Any]]:
    return numbers.view(np.uint32)
