from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import engine.retained_inputs as subject
from engine.gradients import trainable
from engine.retained_inputs import DAMPING, RetainedInputs
from engine.workloads.tensor_instances import TensorInstances, all_supervised

CPU = torch.device("cpu")


def measured(network: nn.Module, inputs: Tensor, rows: list[int] | None = None) -> RetainedInputs:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, given: Tensor) -> dict[str, Tensor]:
            return {"task": self.inner(given)}

    count = len(inputs)
    instances = TensorInstances(
        [f"i-{n}" for n in range(count)],
        [None] * count,
        inputs,
        {"task": torch.zeros(count)},
        all_supervised(count, 1),
    )
    chosen = torch.tensor(range(count) if rows is None else rows)
    return RetainedInputs(Named(), trainable(network), instances, chosen, CPU)


def by_hand(inputs: Tensor, gradient: Tensor) -> Tensor:
    """`G (A / a + damping)^-1` for inputs [S, I] and a gradient [O, I]."""
    covariance = inputs.T @ inputs / len(inputs)
    damped = covariance / covariance.diagonal().mean() + DAMPING * torch.eye(inputs.shape[1])
    return gradient @ torch.linalg.inv(damped)


def test_a_linear_layer_follows_the_formula_its_bias_as_one_more_input() -> None:
    torch.manual_seed(0)
    network, inputs, gradient = nn.Linear(3, 2), torch.randn(50, 3), torch.randn(2, 4)
    direction = torch.cat([gradient[:, :3].flatten(), gradient[:, 3]])
    expected = by_hand(torch.cat([inputs, torch.ones(50, 1)], 1), gradient)
    found = measured(network, inputs)(direction)
    assert torch.allclose(found[:6].view(2, 3), expected[:, :3], atol=1e-5)
    assert torch.allclose(found[6:], expected[:, 3], atol=1e-5)


def test_what_retain_data_use_is_moved_less_than_what_they_leave_alone() -> None:
    inputs = torch.tensor([[1.0, 0.0]]).repeat(20, 1)
    found = measured(nn.Linear(2, 1, bias=False), inputs)(torch.ones(2))
    # Variances 1 and 0 about a mean of 1/2: the one is 2 + .1, the other .1 after damping.
    assert found.tolist() == pytest.approx([1 / 2.1, 1 / 0.1])


def test_only_the_given_rows_are_looked_at() -> None:
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    layer = nn.Linear(2, 1, bias=False)
    assert measured(layer, inputs, [0])(torch.ones(2)).tolist() == pytest.approx([1 / 2.1, 10])
    assert measured(layer, inputs, [1])(torch.ones(2)).tolist() == pytest.approx([10, 1 / 2.1])


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Conv2d(2, 3, 3, padding=1, bias=False),
        lambda: nn.Conv2d(2, 3, 3, stride=2, bias=False),
        lambda: nn.Conv2d(2, 3, (1, 2), padding=(0, 1), bias=False),
        lambda: nn.Conv2d(2, 3, 2, dilation=2, bias=False),
    ],
)
def test_a_convolution_is_a_linear_layer_on_patches(build: Callable[[], nn.Conv2d]) -> None:
    torch.manual_seed(0)
    layer, inputs = build(), torch.randn(6, 2, 7, 7)
    patches = functional.unfold(
        inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride
    ).transpose(1, 2)
    gradient = torch.randn(layer.weight.numel())
    expected = by_hand(patches.flatten(0, 1), gradient.view(3, -1))
    assert torch.allclose(measured(layer, inputs)(gradient), expected.flatten(), atol=1e-4)


def test_a_wide_convolution_is_measured_by_its_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_WIDEST", 4)
    torch.manual_seed(0)
    layer, inputs = nn.Conv2d(2, 3, 3), torch.randn(6, 2, 7, 7)
    gradient = torch.randn(3, 2, 9)
    direction = torch.cat([gradient.flatten(), torch.ones(3)])
    channels = inputs.permute(0, 2, 3, 1).reshape(-1, 2)
    expected = torch.stack([by_hand(channels, gradient[:, :, p]) for p in range(9)], 2)
    found = measured(layer, inputs)(direction)
    assert torch.allclose(found[:-3].view(3, 2, 9), expected, atol=1e-4)
    assert found[-3:].tolist() == [1, 1, 1]


def test_a_wide_linear_layer_and_other_kinds_of_weights_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "_WIDEST", 4)
    network = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 2))
    direction = torch.randn(10 + 12)
    assert torch.equal(measured(network, torch.randn(9, 5))(direction), direction)


def test_layers_that_do_not_change_are_left_out() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1, bias=False))
    for weight in network[0].parameters():
        weight.requires_grad_(False)
    inputs = torch.randn(40, 3)
    with torch.no_grad():
        expected = by_hand(network[0](inputs), torch.ones(1, 3))
    assert torch.allclose(measured(network, inputs)(torch.ones(3)), expected[0], atol=1e-5)


def test_inputs_of_zeros_forbid_nothing() -> None:
    found = measured(nn.Linear(2, 1, bias=False), torch.zeros(5, 2))(torch.tensor([1.0, -2.0]))
    assert (DAMPING * found).tolist() == pytest.approx([1.0, -2.0])
