"""Make an update direction harmless to others: projections against the rows of a matrix.

`rows` [K, D] are gradients of what must be left alone; K is small (4 to 20), D is every trainable
weight. Written for directions in which a model is *moved*: along `direction` the k-th loss changes,
to first order, by `rows[k] @ direction`.
"""

from collections.abc import Callable, Sequence

import torch
from scipy.optimize import nnls
from torch import Tensor

_RIDGE = 1e-9
"""Added to the diagonal of the Gramian of unit rows: rounding can make it indefinite, and rows that
repeat each other make it singular."""
_COLUMNS = 2**20
"""Taken to double precision at a time."""

Weigh = Callable[[Tensor, Tensor], Tensor]
"""From the rows' Gramian [K, K] and their products with a direction [K], in double precision, to
how much of each row to take away, [K]."""


def cone(direction: Tensor, rows: Tensor) -> Tensor:
    """The nearest vector along which no row's loss rises: `rows @ result <= 0`, up to the ridge.

    A direction that is already harmless comes back unchanged; rows of zeros forbid nothing.
    """
    return project(direction, [rows], cone_weights)


def complement(direction: Tensor, rows: Tensor) -> Tensor:
    """The part of `direction` that is orthogonal to every row: no row loss moves, up or down."""
    return project(direction, [rows], complement_weights)


def project(direction: Tensor, parts: Sequence[Tensor], weigh: Weigh) -> Tensor:
    """`direction` [D] less the combination of rows that `weigh` chooses, [D]; itself if of none.

    `parts` are the rows cut by columns, [K, some] each and D in all; each part by itself is brought
    to where the direction is, one after another.
    """
    pieces = direction.split([part.shape[1] for part in parts])
    gram = torch.zeros(len(parts[0]), len(parts[0]), dtype=torch.float64)
    against = torch.zeros(len(parts[0]), dtype=torch.float64)
    for part, piece in zip(parts, pieces, strict=True):
        of_part = _products(part.to(direction.device), piece)
        gram += of_part[0]
        against += of_part[1]
    weights = weigh(gram, against).to(direction)
    if not bool(weights.any()):
        return direction
    return torch.cat(
        [
            piece - weights @ part.to(direction.device)
            for part, piece in zip(parts, pieces, strict=True)
        ]
    )


def cone_weights(gram: Tensor, against: Tensor) -> Tensor:
    """How much of each row to take away, [K], for the projection on the polar cone of the rows.

    `nu = argmin_{nu >= 0} |d - G' nu|^2` for unit rows G, from the rows' Gramian `gram` [K, K] and
    their products with the direction, `against` [K], both in double precision. It is the dual of
    the quadratic program in Gradient Episodic Memory (arXiv 1706.08840, eq. 11).
    """
    lengths = gram.diagonal().sqrt()
    used = lengths > 0
    weights = torch.zeros_like(against)
    if not bool(used.any()):
        return weights
    lengths = lengths[used]
    units = gram[used][:, used] / lengths.outer(lengths)
    units.diagonal().add_(_RIDGE)
    factor = torch.linalg.cholesky(units)
    pull = torch.linalg.solve_triangular(factor, (against[used] / lengths)[:, None], upper=False)
    solution, _ = nnls(factor.T.numpy(), pull.squeeze(1).numpy())
    weights[used] = torch.from_numpy(solution) / lengths
    return weights


def complement_weights(gram: Tensor, against: Tensor) -> Tensor:
    """How much of each row to take away, [K], so that the rest is orthogonal to all; as above.

    The least-squares solution: the same as orthogonalising the rows one after another and removing
    each in turn, which is the gradient orthogonalisation of arXiv 2605.19042. What of a row the
    others span, up to rounding, is left out.
    """
    lengths = gram.diagonal().sqrt()
    scale = torch.where(lengths > 0, 1 / lengths, 0.0)
    units = gram * scale.outer(scale)
    inverse: Tensor = torch.linalg.pinv(units, rtol=_RIDGE, hermitian=True)
    return scale * (inverse @ (scale * against))


def _products(rows: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """The Gramian [K, K] of `rows` [K, D] and their products with `direction`, [K].

    In double precision, on the CPU: in single precision, rows that nearly repeat each other cannot
    be told apart.
    """
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    against = torch.zeros(len(rows), dtype=torch.float64)
    for some, piece in zip(rows.split(_COLUMNS, 1), direction.split(_COLUMNS), strict=True):
        exact = _exact(some)
        gram += (exact @ exact.T).cpu()
        against += (exact @ _exact(piece)).cpu()
    return gram, against


def _exact(tensor: Tensor) -> Tensor:
    """In double precision, which Apple's devices do not have."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
