"""Low-rank subspaces of the inputs of a layer, one a task, at right angles to each other."""

from collections.abc import Sequence

import torch
from torch import Tensor

_NEGLIGIBLE = 1e-5
"""Of a matrix's norm: a direction with less of it is rounding, not a gradient."""


def without(rows: Tensor, basis: Tensor) -> Tensor:
    """What of each row [M, D] is orthogonal to an orthonormal `basis` [R, D]."""
    for _ in range(2):  # the second pass takes what rounding left
        rows = rows - rows @ basis.T @ basis
    return rows


def row_space(rows: Tensor, rank: int, taken: Tensor) -> Tensor:
    """The main directions of the rows [M, D] outside `taken`: orthonormal, [at most `rank`, D].

    The right singular vectors with the largest singular values of the rows after the removal of
    the orthonormal basis `taken` [R, D]; none where nothing but rounding is left.
    """
    rest = without(rows, taken)
    _, sizes, directions = torch.linalg.svd(rest, full_matrices=False)
    found = int((sizes > _NEGLIGIBLE * rows.norm()).sum())
    return without(directions[: min(rank, found)], taken)


def task_subspaces(targets: Sequence[Tensor], others: Sequence[Tensor], rank: int) -> list[Tensor]:
    """One orthonormal basis a target task, [at most `rank`, D] each, in double precision.

    `targets` and `others` are gradients of target and other tasks, [M, D] each. The main `rank`
    directions of each other task are taken first; each target task in turn gets the main ones of
    what is left, so no two bases share a direction, and none points where another task's does.
    """
    width = (*targets, *others)[0].shape[1]
    taken = torch.zeros(0, width, dtype=torch.float64)
    bases = []
    for position, rows in enumerate((*others, *targets)):
        basis = row_space(rows.double().cpu(), rank, taken)
        taken = torch.cat([taken, basis])
        if position >= len(others):
            bases.append(basis)
    return bases
