"""Yes or no a pixel (saliency, boundaries): logistic loss, scored by F1 or the best F1."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from engine.tasks.masked import masked_mean

_BINS = 100


class ThresholdedF1:
    """F1 of all pixels of all batches, at .5 or at the best of the thresholds .01, .02 ... .99.

    2 TP / (2 TP + FP + FN), from two histograms of the predicted probability: one of the positive
    pixels, one of the negative. NaN where no pixel is positive.
    """

    def __init__(self, best: bool, ignore_index: int | None) -> None:
        """Take the best threshold or .5; targets equal to `ignore_index` are left out."""
        self.best = best
        self.ignore_index = ignore_index
        self.histograms = torch.zeros(2, _BINS, dtype=torch.float64)

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in logits [B, H, W] and targets [B, H, W] of 0 and 1."""
        bins = (output.sigmoid() * _BINS).long().clamp(0, _BINS - 1).flatten()
        labels = target.long().flatten()
        if self.ignore_index is not None:
            kept = labels != self.ignore_index
            bins, labels = bins[kept], labels[kept]
        counts = torch.bincount(labels * _BINS + bins, minlength=2 * _BINS)
        self.histograms += counts.view(2, _BINS).to(self.histograms)

    def compute(self) -> Tensor:
        """F1, a scalar between 0 and 1."""
        # Entry i: pixels with a probability of at least i / _BINS.
        false_positive, true_positive = self.histograms.flip(1).cumsum(1).flip(1)
        positive = self.histograms[1].sum()
        f1: Tensor = 2 * true_positive / (true_positive + false_positive + positive)
        f1 = f1.where(positive > 0, torch.nan)
        return f1[1:].max() if self.best else f1[_BINS // 2]


@dataclass(frozen=True)
class BinarySegmentation:
    """Logits [B, H, W] against 0 and 1 [B, H, W] of any integer type."""

    name: str
    metric_name: Literal["f1", "max_f1"] = "max_f1"
    ignore_index: int | None = None
    """Label of the pixels that nobody labelled."""
    higher_is_better: bool = field(default=True, init=False)
    kind: str = field(default="binary_segmentation", init=False)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean logistic loss of an instance's labelled pixels in nats, [B]."""
        valid = torch.ones_like(target, dtype=torch.bool)
        if self.ignore_index is not None:
            valid = target != self.ignore_index
        labels = target.where(valid, 0).to(output.dtype)
        losses = functional.binary_cross_entropy_with_logits(output, labels, reduction="none")
        return masked_mean(losses, valid)

    def new_metric(self) -> ThresholdedF1:
        """An empty accumulator of `metric_name`."""
        return ThresholdedF1(self.metric_name == "max_f1", self.ignore_index)
