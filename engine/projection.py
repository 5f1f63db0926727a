"""Make an update direction harmless to others: projections against the rows of a matrix.

`rows` [K, D] are gradients of what must be left alone; K is small (4 to 20), D is every trainable
weight. Written for directions in which a model is *moved*: along `direction` the k-th loss changes,
to first order, by `rows[k] @ direction`.
"""

import torch
from scipy.optimize import nnls
from torch import Tensor

_RIDGE = 1e-6
"""Added to the diagonal of the Gramian of unit rows: rounding can make it indefinite, and rows that
repeat each other make it singular."""


def cone(direction: Tensor, rows: Tensor) -> Tensor:
    """The nearest vector along which no row's loss rises: `rows @ result <= 0`, up to the ridge.

    The projection on the polar cone of the rows, `d - G' nu` with
    `nu = argmin_{nu >= 0} |d - G' nu|^2`, solved on the K x K Gramian of the unit rows (the dual of
    the quadratic program in Gradient Episodic Memory, arXiv 1706.08840, eq. 11). A direction that
    is already harmless comes back unchanged; rows of zeros forbid nothing.
    """
    gram = (rows @ rows.T).double().cpu()
    lengths = gram.diagonal().sqrt()
    used = lengths > 0
    if not bool(used.any()):
        return direction
    lengths = lengths[used]
    gram = gram[used][:, used] / lengths.outer(lengths)
    gram.diagonal().add_(_RIDGE)
    factor = torch.linalg.cholesky(gram)
    against = ((rows @ direction).double().cpu()[used] / lengths)[:, None]
    pull = torch.linalg.solve_triangular(factor, against, upper=False).squeeze(1)
    solution, _ = nnls(factor.T.numpy(), pull.numpy())
    weights = torch.zeros(len(rows), dtype=torch.float64)
    weights[used] = torch.from_numpy(solution) / lengths
    return direction - weights.to(direction) @ rows


def complement(direction: Tensor, rows: Tensor) -> Tensor:
    """The part of `direction` that is orthogonal to every row: no row loss moves, up or down.

    The rows are orthogonalised one after another (modified Gram-Schmidt); one that the others
    already span is left out. This is the gradient orthogonalisation of arXiv 2605.19042.
    """
    basis: list[Tensor] = []
    for row in rows:
        rest = _remove(_remove(row, basis), basis)  # the second pass takes what rounding left
        length = rest.norm()
        if length > 1e-4 * row.norm():
            basis.append(rest / length)
    return _remove(_remove(direction, basis), basis)


def _remove(vector: Tensor, basis: list[Tensor]) -> Tensor:
    for direction in basis:
        vector = vector - (vector @ direction) * direction
    return vector
