"""One direction a pixel: 1 - cosine for training; the mean angle, A11.25 and A30, for people."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from engine.tasks.masked import MeanMetric, masked_mean


def _cosine(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine between directions, and where there is a target: both [B, H, W]."""
    norm = target.norm(dim=1)
    # A NaN is larger than nothing, so a pixel with one has no target either.
    valid = norm > 0
    known = target.where(valid.unsqueeze(1), 1.0)
    return functional.cosine_similarity(output, known, dim=1), valid


class MeanAngle(MeanMetric):
    """The mean angle in degrees over the pixels whose target is not the zero vector."""

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in directions [B, 3, H, W] of any length and targets [B, 3, H, W]."""
        cosine, valid = _cosine(output, target)
        self.add(cosine.clamp(-1, 1).acos().rad2deg(), valid)


class ShareWithinAngle(MeanAngle):
    """The share of measured pixels whose angle is below `degrees` (A11.25, A30)."""

    def __init__(self, degrees: float) -> None:
        """Start from nothing."""
        super().__init__()
        self.degrees = degrees

    def add(self, values: Tensor, valid: Tensor) -> None:
        """Take in angles in degrees."""
        super().add((values < self.degrees).to(torch.float64), valid)


@dataclass(frozen=True)
class Normals:
    """Directions [B, 3, H, W] of any length against targets [B, 3, H, W].

    A target of length 0 (or NaN) stands for a pixel without a measurement.
    """

    name: str
    metric_name: str = field(default="mean_angle", init=False)
    higher_is_better: bool = field(default=False, init=False)
    kind: str = field(default="normals", init=False)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean of 1 - cosine over an instance's measured pixels, [B]."""
        cosine, valid = _cosine(output, target)
        return masked_mean(1 - cosine, valid)

    def new_metric(self) -> MeanAngle:
        """An empty accumulator."""
        return MeanAngle()

    def extra_metrics(self) -> dict[str, ShareWithinAngle]:
        """The shares below 11.25 and 30 degrees, empty."""
        return {"a11.25": ShareWithinAngle(11.25), "a30": ShareWithinAngle(30.0)}
