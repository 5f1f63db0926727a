import math

import pytest
import torch

from engine.tasks.within import ShareWithinAngle, ShareWithinRatio


def test_delta_counts_measured_pixels_within_the_ratio_either_way() -> None:
    metric = ShareWithinRatio(scale=2.0)
    # Predictions in metres: 2.4, 1.7, 2.6, 1.5, -2 and one without a measurement.
    output = torch.tensor([[[1.2, 0.85, 1.3, 0.75, -1.0, 1.0]]])
    target = torch.tensor([[[2.0, 2.0, 2.0, 2.0, 2.0, 0.0]]])
    metric.update(output, target)
    assert metric.compute() == pytest.approx(2 / 5)


def test_the_share_within_an_angle_is_over_all_batches() -> None:
    metric = ShareWithinAngle(30.0)
    straight = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    for degrees in (0.0, 10.0, 29.0, 31.0):
        angle = math.radians(degrees)
        tilted = torch.tensor([math.sin(angle), 0.0, math.cos(angle)]).view(1, 3, 1, 1)
        metric.update(5 * tilted, straight)
    metric.update(straight, torch.zeros(1, 3, 1, 1))  # no measurement
    assert metric.compute() == pytest.approx(3 / 4)
