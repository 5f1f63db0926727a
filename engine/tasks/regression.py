"""One number an instance: squared error in training units, mean absolute error in the owner's."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.tasks.masked import MeanMetric


class MeanAbsoluteError(MeanMetric):
    """The mean of |prediction - target| in the target's units; NaN targets are left out."""

    def __init__(self, mean: float, std: float) -> None:
        """Predictions are standardised by these; the error is taken after undoing it."""
        super().__init__()
        self.mean = mean
        self.std = std

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in standardised predictions [B] and targets [B]."""
        self.add((output * self.std + self.mean - target).abs(), ~target.isnan())


@dataclass(frozen=True)
class Regression:
    """Standardised predictions [B] against targets [B] in the owner's units; NaN is none."""

    name: str
    mean: float
    """Of the training targets."""
    std: float
    """Of the training targets; positive."""
    metric_name: str = field(default="mae", init=False)
    higher_is_better: bool = field(default=False, init=False)
    kind: str = field(default="regression", init=False)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Squared error in standard deviations of the target, [B]; 0 where there is no target."""
        valid = ~target.isnan()
        standardised = (target - self.mean) / self.std
        # Replaced before the subtraction: a NaN that is masked afterwards still has a NaN gradient.
        return (output - torch.where(valid, standardised, output.detach())) ** 2

    def new_metric(self) -> MeanAbsoluteError:
        """An empty accumulator."""
        return MeanAbsoluteError(self.mean, self.std)
