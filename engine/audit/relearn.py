"""Relearn probe: do forgotten instances come back sooner than strangers do.

A network can hide what it knows: change its last layer, and the losses look like a stranger's while
the features still hold the memory. A few training steps on forgotten and held-out instances alike
bring such memory back (relearn time: Golatkar et al., arXiv 1911.04933; Tarun et al., arXiv
2111.08947). They are taken on a copy, and each side is half of each batch, so that what the steps
do to strangers is measured under the very same steps.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine import evaluation
from engine.audit.measure import Evidence
from engine.errors import Diverged
from engine.gradients import flat_gradient, trainable

STEPS = 8
_A_SIDE = 16
"""Instances of each side in a batch: 256 instances' gradients in all."""
_STEP_SIZE = 0.01
"""The length of a step as a share of the length of the weights: the same for any network."""
_FEWEST = 10
"""Fewer instances than this on a side are not probed: their AUC would say nothing."""


@dataclass(frozen=True)
class Probe:
    """The losses after the steps, of the instances that were stepped on."""

    forgotten: Tensor
    """int64 [n], rows of the training split."""
    held_out: Tensor
    """int64 [n], rows of the judging half."""
    forgotten_losses: Tensor
    """[N, T], NaN outside the forgotten cells of the probed instances."""
    held_out_losses: Tensor
    """[M, T], NaN outside the labelled cells of the probed instances."""


def relearn(evidence: Evidence, model: nn.Module) -> Probe | None:
    """Probe a copy of `model` on at most 128 instances a side; None where there are too few.

    Steps of fixed length along the gradient of the mean loss over both sides' cells, in eval mode
    (statistics of a normalisation are left alone). Which instances depends on no seed.
    """
    cells = torch.stack([request.cells for request in evidence.requests]).any(0)
    targets = cells.any(0)
    labelled = evidence.judging.supervision & targets
    ours, theirs = (side.any(1).nonzero().squeeze(1) for side in (cells, labelled))
    size = min(len(ours), len(theirs), STEPS * _A_SIDE)
    if size < _FEWEST:
        return None
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (
        rows[torch.randperm(len(rows), generator=generator)[:size]] for rows in (ours, theirs)
    )
    probed = copy.deepcopy(model).eval()
    weights = trainable(probed)
    sides = ((evidence.train, cells, ours), (evidence.judging, labelled, theirs))
    try:
        for step in range(STEPS):
            turn = torch.arange(step * _A_SIDE, (step + 1) * _A_SIDE) % size
            loss = torch.zeros((), device=evidence.device)
            for instances, side_cells, rows in sides:
                indices = rows[turn].unique()
                outputs, batch = evaluation.forward(probed, instances, indices, evidence.device)
                chosen = side_cells[indices]
                losses = evaluation.cell_losses(evidence.workload, outputs, batch, chosen)
                loss = loss + evaluation.task_mean(losses, chosen.to(evidence.device))
            _step(weights, flat_gradient(loss, weights))
        after = [
            evaluation.losses(
                evidence.workload, probed, instances, _only(side_cells, rows), evidence.device
            )
            for instances, side_cells, rows in sides
        ]
    except Diverged:
        return None
    return Probe(ours, theirs, after[0], after[1])


def _step(weights: list[nn.Parameter], gradient: Tensor) -> None:
    with torch.no_grad():
        size = torch.sqrt(sum((weight.float() ** 2).sum() for weight in weights))  # type: ignore[arg-type]
        direction = gradient * (_STEP_SIZE * size / gradient.norm().clamp(min=1e-30))
        start = 0
        for weight in weights:
            weight.sub_(direction[start : start + weight.numel()].view_as(weight))
            start += weight.numel()


def _only(cells: Tensor, rows: Tensor) -> Tensor:
    kept = torch.zeros_like(cells)
    kept[rows] = cells[rows]
    return kept
