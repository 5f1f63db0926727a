"""A few points an instance: squared distance for training, the mean distance for people."""

from dataclasses import dataclass, field

from torch import Tensor

from engine.tasks.masked import MeanMetric, masked_mean


class MeanPointError(MeanMetric):
    """The mean Euclidean distance between predicted and true points, in the target's units."""

    def __init__(self, mean: float, std: float) -> None:
        """Predictions are standardised by these; the distance is taken after undoing it."""
        super().__init__()
        self.mean = mean
        self.std = std

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in standardised predictions [B, K, 2] and targets [B, K, 2]."""
        distance = (output * self.std + self.mean - target).norm(dim=2)
        self.add(distance, ~distance.isnan())


@dataclass(frozen=True)
class Landmarks:
    """Standardised predictions [B, K, 2] against targets [B, K, 2] in the owner's units.

    A point with a NaN stands for one that nobody marked.
    """

    name: str
    points: int
    mean: float
    """Of all training coordinates."""
    std: float
    """Of all training coordinates; positive."""
    metric_name: str = field(default="mean_point_error", init=False)
    higher_is_better: bool = field(default=False, init=False)
    kind: str = field(default="landmarks", init=False)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean squared distance of an instance's marked points in squared `std`, [B]."""
        valid = ~target.isnan().any(2)
        standardised = ((target - self.mean) / self.std).where(valid.unsqueeze(2), output.detach())
        return masked_mean((output - standardised).square().sum(2), valid)

    def new_metric(self) -> MeanPointError:
        """An empty accumulator."""
        return MeanPointError(self.mean, self.std)
