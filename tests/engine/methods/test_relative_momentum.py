import pytest
import torch
from torch import nn

from engine.methods.relative_momentum import RelativeMomentum


def layer(weight: list[list[float]], bias: list[float]) -> nn.Linear:
    made = nn.Linear(len(weight[0]), len(weight))
    with torch.no_grad():
        made.weight.copy_(torch.tensor(weight))
        made.bias.copy_(torch.tensor(bias))
    return made


def test_the_first_step_moves_each_tensor_by_the_rate_times_its_own_size() -> None:
    network = layer([[3.0, 4.0]], [0.0])
    optimizer = RelativeMomentum(list(network.parameters()))
    optimizer.step(torch.tensor([0.0, 10.0, -1.0]), 0.1)
    # The weight's root mean square is sqrt(12.5), the gradient's sqrt(50): 10 / sqrt(50) is sqrt 2.
    assert network.weight.tolist()[0] == pytest.approx([3.0, 4.0 - 0.1 * 12.5**0.5 * 2**0.5])
    # A bias starts anywhere: its unit is the whole network's, sqrt((9 + 16 + 0) / 3).
    assert network.bias.item() == pytest.approx(0.1 * (25 / 3) ** 0.5)


def test_the_second_step_remembers_the_first() -> None:
    network = layer([[2.0]], [0.0])
    network.bias.requires_grad_(False)
    optimizer = RelativeMomentum([network.weight])
    optimizer.step(torch.tensor([1.0]), 0.1)
    assert network.weight.item() == pytest.approx(1.8)
    optimizer.step(torch.tensor([3.0]), 0.1)
    mean = (0.09 * 1 + 0.1 * 3) / 0.19
    size = ((0.09 * 1 + 0.1 * 9) / 0.19) ** 0.5
    assert network.weight.item() == pytest.approx(1.8 - 0.1 * 2 * mean / size)


def test_the_scale_of_the_gradients_makes_no_difference() -> None:
    networks = [layer([[0.5, -1.0], [2.0, 0.1]], [0.3, 0.0]) for _ in range(2)]
    optimizers = [RelativeMomentum(list(network.parameters())) for network in networks]
    torch.manual_seed(0)
    for _ in range(4):
        gradient = torch.randn(6)
        optimizers[0].step(gradient, 0.05)
        optimizers[1].step(1000 * gradient, 0.05)
    assert networks[0].weight.flatten().tolist() == pytest.approx(
        networks[1].weight.flatten().tolist()
    )


def test_nothing_moves_along_a_gradient_of_zeros() -> None:
    network = layer([[1.0, 2.0]], [0.5])
    RelativeMomentum(list(network.parameters())).step(torch.zeros(3), 0.1)
    assert network.weight.tolist() == [[1.0, 2.0]]
    assert network.bias.tolist() == [0.5]
