"""One distance a pixel: absolute error for training; RMSE, and delta < 1.25, for people."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.tasks.masked import MeanMetric, masked_mean


class RootMeanSquaredError(MeanMetric):
    """RMSE over the pixels with a positive target, in the target's units."""

    def __init__(self, scale: float) -> None:
        """Predictions are in multiples of `scale`."""
        super().__init__()
        self.scale = scale

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in scaled predictions [B, H, W] and targets [B, H, W]."""
        self.add((output * self.scale - target) ** 2, target > 0)

    def compute(self) -> Tensor:
        """The root of the mean, a scalar."""
        return super().compute().sqrt()


class ShareWithinRatio(MeanMetric):
    """The share of measured pixels with max(p / t, t / p) below `ratio`.

    With 1.25 it is the "delta < 1.25" of Eigen, Puhrsch and Fergus (2014), section 4.2.
    """

    def __init__(self, scale: float, ratio: float = 1.25) -> None:
        """Predictions are in multiples of `scale`."""
        super().__init__()
        self.scale = scale
        self.ratio = ratio

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in scaled predictions [B, H, W] and targets [B, H, W], positive where measured."""
        predicted = output * self.scale
        # A prediction that is not positive is within no ratio.
        close = (predicted < self.ratio * target) & (target < self.ratio * predicted)
        self.add(close.to(torch.float64), target > 0)


@dataclass(frozen=True)
class Depth:
    """Predictions [B, H, W] in multiples of `scale` against targets [B, H, W] in the owner's units.

    A target that is not positive (0, negative, NaN) stands for a pixel without a measurement.
    """

    name: str
    scale: float = 1.0
    """Of the training targets, say their mean; positive."""
    metric_name: str = field(default="rmse", init=False)
    higher_is_better: bool = field(default=False, init=False)
    kind: str = field(default="depth", init=False)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean absolute error of an instance's measured pixels in multiples of `scale`, [B]."""
        valid = target > 0
        wanted = (target / self.scale).where(valid, output.detach())
        return masked_mean((output - wanted).abs(), valid)

    def new_metric(self) -> RootMeanSquaredError:
        """An empty accumulator."""
        return RootMeanSquaredError(self.scale)

    def extra_metrics(self) -> dict[str, ShareWithinRatio]:
        """Delta < 1.25, empty."""
        return {"delta1": ShareWithinRatio(self.scale)}
