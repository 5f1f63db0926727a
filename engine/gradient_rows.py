"""The last few gradients of a network, kept to project directions against.

K rows of D weights are a few copies of the network. Where that is too much for memory they lie in a
file, and whatever is made of them is made layer by layer: never more than one layer's rows are read
at a time.
"""

import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from engine.projection import Weigh, project

_FLOAT = 4
"""Bytes."""


class GradientRows:
    """K gradients [D] each; the newest takes the place of the oldest. Zeros where none is yet."""

    def __init__(
        self, count: int, layers: Sequence[int], device: torch.device, most_bytes: int
    ) -> None:
        """Room for `count` gradients over layers of so many weights each, D in all.

        On `device` as long as they take at most `most_bytes`, else in a file in the system's folder
        for temporary ones, which goes when the rows do.
        """
        self.count = count
        self.next = 0
        """Which row the next gradient takes."""
        self.is_streamed = _FLOAT * count * sum(layers) > most_bytes
        self._parts = (
            [_in_file(count, layer) for layer in layers]
            if self.is_streamed
            else [torch.zeros(count, sum(layers), device=device)]
        )

    def add(self, gradient: Tensor) -> None:
        """Keep a gradient [D]."""
        for part, piece in zip(self._parts, self._pieces(gradient), strict=True):
            part[self.next] = piece
        self.next = (self.next + 1) % self.count

    def clear(self) -> None:
        """Forget all of them."""
        for part in self._parts:
            part.zero_()

    def project(self, direction: Tensor, weigh: Weigh) -> Tensor:
        """`direction` [D] less the combination of these rows that `weigh` chooses, [D]."""
        return project(direction, self._parts, weigh)

    def tensors(self) -> dict[str, Tensor]:
        """All rows; for `restore`."""
        return {f"rows.{number}": part for number, part in enumerate(self._parts)}

    def restore(self, tensors: Mapping[str, Tensor], next_row: int) -> None:
        """Go on with the rows of others of the same shape."""
        for number, part in enumerate(self._parts):
            part.copy_(tensors[f"rows.{number}"])
        self.next = next_row

    def _pieces(self, vector: Tensor) -> tuple[Tensor, ...]:
        pieces: tuple[Tensor, ...] = vector.split([part.shape[1] for part in self._parts])
        return pieces


def _in_file(count: int, width: int) -> Tensor:
    """Zeros [count, width] that the system may move out of memory."""
    with tempfile.TemporaryFile() as file:  # the mapping outlives the file's name and descriptor
        return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=(count, width)))
