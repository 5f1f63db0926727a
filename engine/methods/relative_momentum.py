"""Steps measured by the weights themselves: one learning rate for networks of any scale."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from engine.gradients import flatten, pieces

_MOMENTUM = 0.9


class RelativeMomentum:
    """Gradient descent with momentum whose every step moves a tensor by a share of its own size.

    The direction of a tensor is divided by the running root mean square of its gradient and
    multiplied by the root mean square of its weights, as in layer-wise adaptive rates (LARS, arXiv
    1708.03888): unlike Adam it keeps the direction within a tensor, which a metric has chosen.
    """

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        """Start without memory; the weights are changed in place."""
        self.weights = weights
        self.steps = 0
        self.mean = torch.zeros(0)
        self.squares = torch.zeros(len(weights), dtype=torch.float64)
        whole = flatten(weights)
        # Vectors (biases, the weights of norms) start at 0 or 1, which says nothing of their scale.
        self._units = torch.tensor(
            [_rms(weight) if weight.dim() > 1 else _rms(whole) for weight in weights],
            dtype=torch.float64,
        )

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """Move against `gradient` [D], each tensor by about `rate` of its root mean square."""
        if not self.steps:
            self.mean = torch.zeros_like(gradient)
        self.steps += 1
        self.mean.lerp_(gradient, 1 - _MOMENTUM)
        bias = 1 - _MOMENTUM**self.steps
        means, gradients = pieces(self.mean, self.weights), pieces(gradient, self.weights)
        for index, (mean, now) in enumerate(zip(means, gradients, strict=True)):
            square = float(now.square().mean())
            self.squares[index] += (1 - _MOMENTUM) * (square - float(self.squares[index]))
            size = max((float(self.squares[index]) / bias) ** 0.5, 1e-30)
            self.weights[index].sub_((rate * float(self._units[index]) / (bias * size)) * mean)

    def tensors(self) -> dict[str, Tensor]:
        """What changes from step to step; for `restore`."""
        return {"mean": self.mean, "squares": self.squares, "units": self._units}

    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Go on where another one was when it took these `tensors`."""
        self.mean, self.steps = tensors["mean"], steps
        self.squares, self._units = tensors["squares"].cpu(), tensors["units"].cpu()


def _rms(tensor: Tensor) -> float:
    return float(tensor.detach().square().mean().sqrt())
