import math

import pytest
import torch

from engine.tasks.normals import Normals, ShareWithinAngle

TASK = Normals("normals")


def _pixels(*directions: tuple[float, float, float]) -> torch.Tensor:
    """Directions as one instance [1, 3, 1, P]."""
    return torch.tensor(directions, dtype=torch.float32).T.reshape(1, 3, 1, -1)


OUTPUT = _pixels((2, 0, 0), (0, 0, 3), (1, 1, 0), (1, 2, 3))
TARGET = _pixels((1, 0, 0), (0, 1, 0), (0, 0, 0), (math.nan, 0, 1))


def test_loss_is_one_minus_cosine_over_the_measured_pixels() -> None:
    torch.testing.assert_close(TASK.loss(OUTPUT, TARGET), torch.tensor([0.5]))


def test_an_unmeasured_pixel_has_no_gradient() -> None:
    output = OUTPUT.clone().requires_grad_()
    TASK.loss(output, TARGET).sum().backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()
    assert output.grad[..., 2:].abs().sum() == 0


def test_metric_is_the_mean_angle_in_degrees() -> None:
    metric = TASK.new_metric()
    metric.update(OUTPUT, TARGET)
    metric.update(_pixels((1, 1, 0)), _pixels((1, 0, 0)))
    assert metric.compute().item() == pytest.approx((0 + 90 + 45) / 3, abs=1e-3)


def test_the_share_within_an_angle_is_over_all_batches() -> None:
    metric = ShareWithinAngle(30.0)
    straight = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    for degrees in (0.0, 10.0, 29.0, 31.0):
        angle = math.radians(degrees)
        tilted = torch.tensor([math.sin(angle), 0.0, math.cos(angle)]).view(1, 3, 1, 1)
        metric.update(5 * tilted, straight)
    metric.update(straight, torch.zeros(1, 3, 1, 1))  # no measurement
    assert metric.compute() == pytest.approx(3 / 4)
