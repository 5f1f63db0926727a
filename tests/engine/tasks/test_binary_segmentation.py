import math

import pytest
import torch

from engine.tasks.binary_segmentation import BinarySegmentation

PROBABILITIES = torch.tensor([[[0.9, 0.4, 0.35, 0.1]]])
LOGITS = PROBABILITIES.logit()
TARGET = torch.tensor([[[1, 1, 0, 0]]], dtype=torch.uint8)


def test_loss_is_the_mean_logistic_loss_of_an_instances_pixels() -> None:
    loss = BinarySegmentation("saliency").loss(LOGITS, TARGET)
    expected = -(math.log(0.9) + math.log(0.4) + math.log(0.65) + math.log(0.9)) / 4
    torch.testing.assert_close(loss, torch.tensor([expected]))


def test_ignored_pixels_do_not_count() -> None:
    task = BinarySegmentation("saliency", ignore_index=255)
    target = torch.tensor([[[1, 255, 255, 255]]], dtype=torch.uint8)
    torch.testing.assert_close(task.loss(LOGITS, target), torch.tensor([-math.log(0.9)]))
    metric = task.new_metric()
    metric.update(LOGITS, target)
    assert metric.compute().item() == 1


def test_f1_at_one_half() -> None:
    metric = BinarySegmentation("saliency", "f1").new_metric()
    metric.update(LOGITS, TARGET)
    # one true positive, one false negative
    assert metric.compute().item() == pytest.approx(2 / 3)


def test_max_f1_takes_the_best_threshold() -> None:
    metric = BinarySegmentation("saliency", "max_f1").new_metric()
    metric.update(LOGITS, TARGET)
    # between .35 and .4 both positives are found and no negative
    assert metric.compute().item() == pytest.approx(1.0)


def test_without_a_positive_pixel_f1_is_nan() -> None:
    metric = BinarySegmentation("saliency").new_metric()
    metric.update(LOGITS, torch.zeros_like(TARGET))
    assert math.isnan(metric.compute().item())
