import math

import pytest
import torch

from engine.tasks.landmarks import Landmarks

TASK = Landmarks("ends", points=2, mean=0.5, std=0.1)
OUTPUT = torch.tensor([[[0.0, 0.0], [1.0, 2.0]]])


def test_loss_is_the_mean_squared_distance_in_standard_deviations() -> None:
    target = torch.tensor([[[0.8, 0.9], [0.6, 0.7]]])
    # the first point is (3, 4) deviations away, the second is right
    torch.testing.assert_close(TASK.loss(OUTPUT, target), torch.tensor([25 / 2]))


def test_a_point_that_nobody_marked_does_not_count() -> None:
    target = torch.tensor([[[0.8, 0.9], [math.nan, 0.7]]])
    output = OUTPUT.clone().requires_grad_()
    loss = TASK.loss(output, target)
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), torch.tensor([25.0]))
    assert output.grad is not None
    assert output.grad[0, 1].tolist() == [0.0, 0.0]


def test_metric_is_the_mean_distance_in_the_owners_units() -> None:
    metric = TASK.new_metric()
    metric.update(OUTPUT, torch.tensor([[[0.8, 0.9], [math.nan, 0.7]]]))
    metric.update(OUTPUT, torch.tensor([[[0.5, 0.5], [0.6, 0.7]]]))
    assert metric.compute().item() == pytest.approx(0.5 / 3, abs=1e-6)
