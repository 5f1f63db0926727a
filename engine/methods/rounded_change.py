"""A method's last step: weights that differ from the parent's by few bits each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine import whole_steps
from engine.gradients import pieces


@torch.no_grad()
def round_change(weights: Sequence[nn.Parameter], parent: Tensor, bits: int) -> None:
    """Move each of `weights` to a whole number of steps of `bits` bits from `parent`, [D].

    The rows of a weight are its outputs'; a vector is one row. Weights that are not in single
    precision stay as they are.
    """
    for weight, start in zip(weights, pieces(parent, weights), strict=True):
        if weight.dtype != torch.float32 or not weight.numel():
            continue
        shape = (len(weight) if weight.dim() > 1 else 1, -1)
        before, after = (t.detach().cpu().reshape(shape).numpy() for t in (start, weight))
        near = whole_steps.rounded(before, after, bits)
        weight.copy_(torch.from_numpy(near).view_as(weight))
