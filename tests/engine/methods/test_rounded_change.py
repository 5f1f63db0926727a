import numpy as np
import torch
from torch import nn

from engine.gradients import flatten
from engine.methods.rounded_change import round_change


def test_each_weight_ends_a_few_bits_from_the_parent_and_close_to_where_it_was() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 5, bias=True), nn.PReLU(1))
    weights = list(model.parameters())
    parent = flatten(weights)
    with torch.no_grad():
        for weight in weights:
            weight.add_(0.01 * torch.randn_like(weight))
    wanted = flatten(weights)
    round_change(weights, parent, 7)
    rounded = flatten(weights)
    assert not torch.equal(rounded, wanted)
    assert float((rounded - wanted).norm() / (wanted - parent).norm()) < 0.05
    change = (
        weights[0].detach().double().flatten(1) - parent[:216].double().reshape(8, 27)
    ).numpy()
    for row in change:
        steps = row / 2.0 ** np.ceil(np.log2(np.abs(row).max() / 63))
        assert np.abs(steps).max() <= 63
        assert np.allclose(steps, np.rint(steps), atol=1e-3), "but for a float's rounding"


def test_weights_of_another_precision_stay() -> None:
    weight = nn.Parameter(torch.ones(2, 3, dtype=torch.bfloat16))
    round_change([weight], torch.zeros(6, dtype=torch.bfloat16), 3)
    assert torch.equal(weight, torch.ones(2, 3, dtype=torch.bfloat16))
