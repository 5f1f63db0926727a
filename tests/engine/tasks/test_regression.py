import math

import pytest
import torch

from engine.tasks.regression import Regression

TASK = Regression("age", mean=40.0, std=10.0)


def test_loss_is_squared_in_standard_deviations() -> None:
    loss = TASK.loss(torch.tensor([1.0, 0.0]), torch.tensor([30.0, 45.0]))
    torch.testing.assert_close(loss, torch.tensor([4.0, 0.25]))


def test_a_missing_target_has_neither_loss_nor_gradient() -> None:
    output = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = TASK.loss(output, torch.tensor([math.nan, 40.0]))
    loss.sum().backward()
    assert loss.tolist() == [0.0, 4.0]
    assert output.grad is not None
    assert output.grad.tolist() == [0.0, 4.0]


def test_metric_is_the_mean_absolute_error_in_the_owners_units() -> None:
    metric = TASK.new_metric()
    metric.update(torch.tensor([1.0, 0.0]), torch.tensor([30.0, math.nan]))
    metric.update(torch.tensor([0.5]), torch.tensor([45.0]))
    assert metric.compute().item() == pytest.approx((20 + 0) / 2)
