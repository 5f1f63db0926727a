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
    """The nearest vector along which none of the row losses rises: `rows @ result <= 0`, up to 1e-6.

    The projection on the polar cone of the rows, `d - G' nu` with
    `nu = argmin_{nu >= 0} |d - G' nu|^2`, solved on the K x K Gramian (the dual of the quadratic
    program in Gradient Episodic Memory, arXiv 1706.08840, eq. 11). A direction that is already
    harmless comes back unchanged.
    """
    units = _unit(rows)
    if not len(units):
        return direction
    gram = (units @ units.T).double()
    gram.diagonal().add_(_RIDGE)
    factor = torch.linalg.cholesky(gram)
    pull = torch.linalg.solve_triangular(
        factor, (units @ direction).double()[:, None], upper=False
    ).squeeze(1)
    weights, _ = nnls(factor.T.cpu().numpy(), pull.cpu().numpy())
    return direction - torch.from_numpy(weights).to(direction) @ units


def complement(direction: Tensor, rows: Tensor) -> Tensor:
    """The part of `direction` that is orthogonal to every row: no row loss moves, up or down.

    The rows are orthogonalised one after another (modified Gram-Schmidt); one that the others
    already span is left out. This is the gradient orthogonalisation of arXiv 2605.19042.
    """
    basis: list[Tensor] = []
    for row in _unit(rows):
        rest = _remove(_remove(row, basis), basis)  # the second pass takes what rounding left
        length = rest.norm()
        if length > 1e-4:
            basis.append(rest / length)
    return _remove(_remove(direction, basis), basis)


def _unit(rows: Tensor) -> Tensor:
    """The rows that are not zero, at length 1."""
    lengths = rows.norm(dim=1, keepdim=True)
    return rows[lengths.squeeze(1) > 0] / lengths[lengths > 0][:, None]


def _remove(vector: Tensor, basis: list[Tensor]) -> Tensor:
    for direction in basis:
        vector = vector - (vector @ direction) * direction
    return vector
