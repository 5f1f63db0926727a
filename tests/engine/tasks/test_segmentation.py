import math

import pytest
import torch

from engine.tasks.segmentation import Segmentation

TASK = Segmentation("parts", 3, ignore_index=255)


def _logits(labels: torch.Tensor) -> torch.Tensor:
    return 10.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()


def test_loss_is_the_mean_over_the_labelled_pixels_of_each_instance() -> None:
    logits = torch.zeros(2, 3, 1, 2)
    logits[0, 1, 0, 0] = math.log(2.0)  # probabilities 1/4, 1/2, 1/4 at that pixel
    target = torch.tensor([[[1, 255]], [[255, 255]]], dtype=torch.uint8)
    torch.testing.assert_close(TASK.loss(logits, target), torch.tensor([math.log(2.0), 0.0]))


def test_mean_iou_covers_the_classes_that_occur_among_the_targets() -> None:
    metric = TASK.new_metric()
    predicted = torch.tensor([[[0, 0, 1, 2]]])
    target = torch.tensor([[[0, 1, 1, 255]]], dtype=torch.uint8)
    metric.update(_logits(predicted), target)
    # class 0: 1 / 2, class 1: 1 / 2; class 2 is predicted on the ignored pixel only
    assert metric.compute().item() == pytest.approx(0.5)


def test_a_class_that_is_only_predicted_costs_the_class_it_was_taken_from() -> None:
    metric = TASK.new_metric()
    metric.update(_logits(torch.tensor([[[0, 0, 0, 2]]])), torch.tensor([[[0, 0, 0, 0]]]))
    assert metric.compute().item() == pytest.approx(3 / 4)
