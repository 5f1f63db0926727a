"""Metrics of labels: one confusion matrix, summed over batches, and the scores read from it."""

from collections.abc import Callable

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]


def accuracy(confusion: Tensor) -> Tensor:
    """The share of labels that are right; `confusion` [C, C] has targets as rows."""
    return confusion.diagonal().sum() / confusion.sum()


def balanced_accuracy(confusion: Tensor) -> Tensor:
    """The mean recall over the classes that occur among the targets."""
    support = confusion.sum(1)
    return (confusion.diagonal() / support)[support > 0].mean()


def mean_iou(confusion: Tensor) -> Tensor:
    """The mean intersection over union of the classes that occur among the targets.

    A class that is only predicted has no IoU of its own (a few stray pixels would pull the mean of
    a small set far down); its pixels still count against the classes they were taken from.
    """
    intersection = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - intersection
    return (intersection / union)[confusion.sum(1) > 0].mean()


class ConfusionMetric:
    """A score of the confusion matrix over all batches; NaN where nothing is labelled."""

    def __init__(self, classes: int, score: Score, ignore_index: int | None) -> None:
        """Count `classes` classes; targets equal to `ignore_index` are left out."""
        self.classes = classes
        self.score = score
        self.ignore_index = ignore_index
        self.confusion = torch.zeros(classes, classes, dtype=torch.float64)

    def update(self, output: Tensor, target: Tensor) -> None:
        """Count logits [B, C, ...] against labels [B, ...]."""
        predicted = output.argmax(1).flatten()
        labels = target.flatten().long()
        if self.ignore_index is not None:
            kept = labels != self.ignore_index
            predicted, labels = predicted[kept], labels[kept]
        pairs = torch.bincount(labels * self.classes + predicted, minlength=self.classes**2)
        self.confusion += pairs.view(self.classes, self.classes).to(self.confusion)

    def compute(self) -> Tensor:
        """The score, a scalar."""
        return self.score(self.confusion)
