"""Adam (arXiv 1412.6980) for directions that are computed, not back-propagated into `.grad`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.gradients import pieces

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Takes flat gradients [D].

    Not `torch.optim`, whose first step imports a compiler: seconds of each job.
    """

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        """Start without memory; the weights are changed in place."""
        self.weights = weights
        self.steps = 0
        self.mean = torch.zeros(0)
        self.square = torch.zeros(0)

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """Move against `gradient` by at most about `rate` a weight."""
        if not self.steps:
            self.mean = torch.zeros_like(gradient)
            self.square = torch.zeros_like(gradient)
        self.steps += 1
        self.mean.lerp_(gradient, 1 - _BETA_1)
        self.square.lerp_(gradient.square(), 1 - _BETA_2)
        scale = (self.square / (1 - _BETA_2**self.steps)).sqrt_().add_(_EPSILON)
        move = self.mean / scale * (-rate / (1 - _BETA_1**self.steps))
        for weight, piece in zip(self.weights, pieces(move, self.weights), strict=True):
            weight.add_(piece)
