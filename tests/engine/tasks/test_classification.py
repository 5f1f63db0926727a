import math

import pytest
import torch

from engine.tasks.classification import Classification

LOGITS = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0], [5.0, 0.0]])


def test_loss_is_cross_entropy_and_zero_without_a_label() -> None:
    loss = Classification("sex", 2).loss(LOGITS, torch.tensor([1, 1, -1]))
    # softmax gives 3/4 to the first label and 1/5 to the second
    torch.testing.assert_close(loss, torch.tensor([-math.log(0.75), -math.log(0.2), 0.0]))


def test_an_unlabelled_instance_has_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    Classification("sex", 2).loss(logits, torch.tensor([-1, -1, -1])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_accuracy_counts_labelled_instances_over_all_batches() -> None:
    metric = Classification("sex", 2).new_metric()
    metric.update(LOGITS[:2], torch.tensor([1, 1]))
    metric.update(LOGITS[2:], torch.tensor([-1]))
    assert metric.compute().item() == pytest.approx(1 / 2)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur() -> None:
    metric = Classification("sex", 3, "balanced_accuracy").new_metric()
    predicted = torch.tensor([0, 0, 0, 1, 2])
    metric.update(torch.nn.functional.one_hot(predicted, 3).float(), torch.tensor([0, 0, 0, 0, 1]))
    # recall 3/4 of class 0, 0 of class 1; class 2 is predicted once and never true
    assert metric.compute().item() == pytest.approx(3 / 8)


def test_without_any_label_the_metric_is_nan() -> None:
    metric = Classification("sex", 2).new_metric()
    metric.update(LOGITS, torch.tensor([-1, -1, -1]))
    assert math.isnan(metric.compute().item())
