import pytest
import torch

from engine.workloads.networks import MultiTaskMLP, MultiTaskResNet, MultiTaskUNet


def _shapes(outputs: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(output.shape) for name, output in outputs.items()}


def test_the_perceptron_gives_each_task_its_shape() -> None:
    network = MultiTaskMLP(5, (8, 8), {"type": (3,), "age": (), "ends": (2, 2)})
    outputs = network(torch.randn(4, 5))
    assert _shapes(outputs) == {"type": (4, 3), "age": (4,), "ends": (4, 2, 2)}


@pytest.mark.parametrize("size", [(35, 35), (9, 17)])
def test_the_residual_net_takes_images_of_any_size(size: tuple[int, int]) -> None:
    outputs = MultiTaskResNet(1, 8, {"character": (7,)})(torch.randn(2, 1, *size))
    assert _shapes(outputs) == {"character": (2, 7)}


@pytest.mark.parametrize("downscale", [1, 3])
def test_the_u_net_gives_maps_of_the_images_size_beside_image_level_outputs(downscale: int) -> None:
    network = MultiTaskUNet(3, 8, {"parts": 4, "depth": None}, {"count": ()}, downscale=downscale)
    outputs = network(torch.randn(2, 3, 21, 14))
    assert _shapes(outputs) == {"parts": (2, 4, 21, 14), "depth": (2, 21, 14), "count": (2,)}


@pytest.mark.parametrize(
    "network", [MultiTaskResNet(3, 8, {"a": (2,)}), MultiTaskUNet(3, 8, {"a": 2}, {})]
)
def test_an_output_does_not_depend_on_the_rest_of_the_batch(network: torch.nn.Module) -> None:
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    network.train()
    torch.testing.assert_close(network(images)["a"][:1], network(images[:1])["a"])


def test_nothing_is_kept_outside_the_weights() -> None:
    assert not list(MultiTaskUNet(3, 8, {"a": 2}, {"b": ()}).buffers())
