import pytest
import torch
from torch import nn

from engine.methods.adam import Adam


def test_it_moves_as_torchs_own() -> None:
    torch.manual_seed(0)
    ours = nn.Linear(3, 2)
    theirs = nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    optimizer = torch.optim.Adam(theirs.parameters())
    adam = Adam(list(ours.parameters()))
    for step in range(5):
        gradient = torch.randn(8)
        rate = 0.1 / (step + 1)
        adam.step(gradient, rate)
        optimizer.param_groups[0]["lr"] = rate
        theirs.weight.grad, theirs.bias.grad = gradient[:6].view(2, 3), gradient[6:]
        optimizer.step()
    assert ours.weight.flatten().tolist() == pytest.approx(
        theirs.weight.flatten().tolist(), abs=1e-5
    )
    assert ours.bias.tolist() == pytest.approx(theirs.bias.tolist(), abs=1e-5)
