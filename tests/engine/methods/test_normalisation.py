import pytest
import torch
from torch import nn

from engine.methods.normalisation import re_estimate
from engine.workloads.digits import DigitsWorkload

CPU = torch.device("cpu")


def test_running_statistics_become_those_of_the_given_rows_alone() -> None:
    train = DigitsWorkload().instances("train")
    model = nn.Sequential(nn.BatchNorm1d(64, momentum=0.3))
    rows = torch.arange(64, 192)
    assert re_estimate(model, train, rows, CPU)
    layer = model[0]
    inputs = train.batch(rows).inputs
    assert torch.allclose(layer.running_mean, inputs.mean(0), atol=1e-5)
    assert layer.momentum == pytest.approx(0.3)
    assert not model.training


def test_a_network_without_batchnorm_is_left_alone() -> None:
    train = DigitsWorkload().instances("train")
    assert not re_estimate(nn.Linear(64, 2), train, torch.arange(4), CPU)
