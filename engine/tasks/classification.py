"""One label an instance: softmax cross-entropy, scored by (balanced) accuracy."""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor
from torch.nn import functional

from engine.tasks.confusion import ConfusionMetric, accuracy, balanced_accuracy

UNLABELLED = -1
"""Target of an instance that carries no label for the task."""

_SCORES = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}


@dataclass(frozen=True)
class Classification:
    """Logits [B, C] against int64 labels [B]; the label -1 stands for none."""

    name: str
    classes: int
    metric_name: Literal["accuracy", "balanced_accuracy"] = "accuracy"
    higher_is_better: bool = field(default=True, init=False)
    kind: str = field(default="classification", init=False)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy in nats, [B]; 0 where there is no label."""
        return functional.cross_entropy(output, target, ignore_index=UNLABELLED, reduction="none")

    def new_metric(self) -> ConfusionMetric:
        """An empty accumulator of `metric_name`."""
        return ConfusionMetric(self.classes, _SCORES[self.metric_name], UNLABELLED)
