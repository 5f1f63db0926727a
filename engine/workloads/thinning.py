"""Lines of one pixel's width from thicker ones."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

_NEIGHBOURS: Final = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
"""Row and column steps from east, counter-clockwise: x1 to x8 of the paper."""


def thin(mask: Mask) -> Mask:
    """The centre lines of `mask` [H, W], connected as it was.

    Parallel thinning of Guo and Hall (1989, algorithm A1) in the formulation of Lam, Lee and Suen
    (1992, p. 879): two alternating passes, each removing border pixels that are no ends and whose
    removal breaks nothing, until neither finds one.
    """
    current = mask.copy()
    while True:
        before = current
        for first in (True, False):
            current = current & ~_removable(current, first)
        if np.array_equal(before, current):
            return current


def _removable(mask: Mask, first: bool) -> Mask:
    """The pixels that a pass takes away, by conditions G1, G2 and G3 (second pass: G3')."""
    height, width = mask.shape
    padded = np.pad(mask, 1)
    x = [
        padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]
        for row, column in _NEIGHBOURS
    ]
    crossings = sum((~x[i] & (x[i + 1] | x[(i + 2) % 8])).astype(np.uint8) for i in range(0, 8, 2))
    pairs_1 = sum((x[i] | x[i + 1]).astype(np.uint8) for i in range(0, 8, 2))
    pairs_2 = sum((x[i + 1] | x[(i + 2) % 8]).astype(np.uint8) for i in range(0, 8, 2))
    fewest = np.minimum(pairs_1, pairs_2)
    turn = (x[1] | x[2] | ~x[7]) & x[0] if first else (x[5] | x[6] | ~x[3]) & x[4]
    removable: Mask = mask & (crossings == 1) & (fewest >= 2) & (fewest <= 3) & ~turn
    return removable
