"""Shares of pixels that are close enough: the second figures of depth and of normals."""

import torch
from torch import Tensor

from engine.tasks.masked import MeanMetric
from engine.tasks.normals import MeanAngle


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


class ShareWithinAngle(MeanAngle):
    """The share of measured pixels whose angle is below `degrees` (A11.25, A30)."""

    def __init__(self, degrees: float) -> None:
        """Start from nothing."""
        super().__init__()
        self.degrees = degrees

    def add(self, values: Tensor, valid: Tensor) -> None:
        """Take in angles in degrees."""
        super().add((values < self.degrees).to(torch.float64), valid)
