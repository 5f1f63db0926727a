"""Means over the part of a target that is labelled."""

import torch
from torch import Tensor
from torchmetrics import Metric


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """The mean of each instance's valid values: [B, ...] and bool [B, ...] to [B].

    An instance without a valid value gives 0, with a gradient of 0: the values that are not valid
    must be finite, or they would come through as NaN x 0.
    """
    weights = valid.to(values.dtype).flatten(1)
    return (values.flatten(1) * weights).sum(1) / weights.sum(1).clamp(min=1)


class MeanMetric(Metric):
    """A mean over all elements of all batches; NaN before the first valid one.

    A subclass says in `update` what is added to `total` and `count`.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()
        zero = torch.zeros((), dtype=torch.float64)
        self.add_state("total", default=zero, dist_reduce_fx="sum")
        self.add_state("count", default=zero.clone(), dist_reduce_fx="sum")

    def add(self, values: Tensor, valid: Tensor) -> None:
        """Take in the valid ones of `values`; both of one shape."""
        # `to`: the state stays where it was made, wherever the batch comes from.
        self.total += values[valid].double().sum().to(self.total)
        self.count += valid.sum().to(self.count)

    def compute(self) -> Tensor:
        """The mean, a scalar."""
        return self.total / self.count
