import math

import pytest
import torch

from engine.tasks.multilabel import Multilabel

TASK = Multilabel("tags", 2)
LOGITS = torch.tensor([[0.0, math.log(3.0)], [-1.0, 2.0]])


def test_loss_is_the_mean_logistic_loss_of_the_given_labels() -> None:
    targets = torch.tensor([[1.0, 1.0], [math.nan, math.nan]])
    # sigmoid gives 1/2 and 3/4
    expected = (-math.log(0.5) - math.log(0.75)) / 2
    torch.testing.assert_close(TASK.loss(LOGITS, targets), torch.tensor([expected, 0.0]))


def test_a_missing_label_has_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    TASK.loss(logits, torch.tensor([[1.0, math.nan], [0.0, 0.0]])).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert logits.grad.isfinite().all()


def test_f1_counts_over_all_labels() -> None:
    metric = TASK.new_metric()
    metric.update(LOGITS, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    # predicted positive: [0, 1] and [1, 1]; true: [0, 0] and [1, 1]
    assert metric.compute().item() == pytest.approx(2 * 1 / (2 + 2))
