"""Several yes-or-no labels an instance: logistic loss, scored by F1 over all of them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from engine.tasks.masked import masked_mean


class MicroF1:
    """F1 of all labels of all instances at the logit 0; NaN targets are left out.

    NaN where nothing is positive, neither predicted nor true.
    """

    def __init__(self) -> None:
        """Start from nothing."""
        self.agreeing = torch.zeros((), dtype=torch.float64)
        self.positive = torch.zeros((), dtype=torch.float64)

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in logits [B, C] and targets [B, C] of 0, 1 and NaN."""
        valid = ~target.isnan()
        predicted = (output > 0) & valid
        true = (target > 0.5) & valid
        self.agreeing += (predicted & true).sum().to(self.agreeing)
        self.positive += (predicted.sum() + true.sum()).to(self.positive)

    def compute(self) -> Tensor:
        """2 TP / (2 TP + FP + FN), a scalar."""
        return 2 * self.agreeing / self.positive


@dataclass(frozen=True)
class Multilabel:
    """Logits [B, C] against targets [B, C] of 0 and 1; NaN stands for a label that nobody gave."""

    name: str
    classes: int
    metric_name: str = field(default="f1", init=False)
    higher_is_better: bool = field(default=True, init=False)
    kind: str = field(default="multilabel", init=False)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean logistic loss of an instance's given labels in nats, [B]."""
        valid = ~target.isnan()
        labels = target.where(valid, 0.0).to(output.dtype)
        losses = functional.binary_cross_entropy_with_logits(output, labels, reduction="none")
        return masked_mean(losses, valid)

    def new_metric(self) -> MicroF1:
        """An empty accumulator."""
        return MicroF1()
