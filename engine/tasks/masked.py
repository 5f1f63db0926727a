"""Means over the part of a target that is labelled."""

import torch
from torch import Tensor


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """The mean of each instance's valid values: [B, ...] and bool [B, ...] to [B].

    An instance without a valid value gives 0, with a gradient of 0: the values that are not valid
    must be finite, or they would come through as NaN x 0.
    """
    weights = valid.to(values.dtype).flatten(1)
    return (values.flatten(1) * weights).sum(1) / weights.sum(1).clamp(min=1)


class MeanMetric:
    """A mean over all elements of all batches; NaN before the first valid one.

    A subclass says in `update` what is added to `total` and `count`.
    """

    def __init__(self) -> None:
        """Start from nothing."""
        self.total = torch.zeros((), dtype=torch.float64)
        self.count = torch.zeros((), dtype=torch.float64)

    def add(self, values: Tensor, valid: Tensor) -> None:
        """Take in the valid ones of `values`; both of one shape."""
        # `to`: the state stays where it was made, wherever the batch comes from.
        self.total += values[valid].double().sum().to(self.total)
        self.count += valid.sum().to(self.count)

    def compute(self) -> Tensor:
        """The mean, a scalar."""
        return self.total / self.count
