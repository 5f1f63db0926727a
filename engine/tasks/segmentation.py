"""One label a pixel: softmax cross-entropy, scored by mean intersection over union."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from engine.tasks.confusion import ConfusionMetric, mean_iou
from engine.tasks.masked import masked_mean


@dataclass(frozen=True)
class Segmentation:
    """Logits [B, C, H, W] against labels [B, H, W] of any integer type."""

    name: str
    classes: int
    ignore_index: int | None = None
    """Label of the pixels that nobody labelled."""
    metric_name: str = field(default="mean_iou", init=False)
    higher_is_better: bool = field(default=True, init=False)
    kind: str = field(default="segmentation", init=False)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean cross-entropy of an instance's labelled pixels in nats, [B]."""
        labels = target.long()
        valid = torch.ones_like(labels, dtype=torch.bool)
        if self.ignore_index is not None:
            valid = labels != self.ignore_index
            labels = labels.where(valid, 0)
        return masked_mean(functional.cross_entropy(output, labels, reduction="none"), valid)

    def new_metric(self) -> ConfusionMetric:
        """An empty accumulator."""
        return ConfusionMetric(self.classes, mean_iou, self.ignore_index)
