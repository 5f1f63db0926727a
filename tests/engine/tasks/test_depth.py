import math

import pytest
import torch

from engine.tasks.depth import Depth, ShareWithinRatio

TASK = Depth("depth", scale=2.0)
OUTPUT = torch.tensor([[[1.0, 2.0, 3.0, 9.0]]])
TARGET = torch.tensor([[[2.0, 6.0, 0.0, math.nan]]])


def test_loss_is_the_mean_absolute_error_of_the_measured_pixels() -> None:
    # in multiples of the scale: |1 - 1| and |2 - 3|
    torch.testing.assert_close(TASK.loss(OUTPUT, TARGET), torch.tensor([0.5]))


def test_an_unmeasured_pixel_has_no_gradient() -> None:
    output = OUTPUT.clone().requires_grad_()
    TASK.loss(output, TARGET).sum().backward()
    assert output.grad is not None
    assert output.grad[0, 0, 2:].tolist() == [0.0, 0.0]


def test_metric_is_the_root_mean_squared_error_in_the_owners_units() -> None:
    metric = TASK.new_metric()
    metric.update(OUTPUT, TARGET)
    assert metric.compute().item() == pytest.approx(math.sqrt((0 + 4) / 2))


def test_delta_counts_measured_pixels_within_the_ratio_either_way() -> None:
    metric = ShareWithinRatio(scale=2.0)
    # Predictions in metres: 2.4, 1.7, 2.6, 1.5, -2 and one without a measurement.
    output = torch.tensor([[[1.2, 0.85, 1.3, 0.75, -1.0, 1.0]]])
    target = torch.tensor([[[2.0, 2.0, 2.0, 2.0, 2.0, 0.0]]])
    metric.update(output, target)
    assert metric.compute() == pytest.approx(2 / 5)
