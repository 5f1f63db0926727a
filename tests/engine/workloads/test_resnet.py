import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import WorkloadError
from engine.workloads.dense_network import DenseNetwork, normalised
from engine.workloads.resnet import DenseResNet, ResNetBackbone, load_backbone


def _published(depths: list[int], bottleneck: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's ResNet state dicts, in their order, written out anew."""
    layout: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, outputs: int, inputs: int, size: int) -> None:
        layout[f"{name}.weight"] = (outputs, inputs, size, size)

    def normalisation(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            layout[f"{name}.{part}"] = (channels,)
        layout[f"{name}.num_batches_tracked"] = ()

    convolution("conv1", 64, 3, 7)
    normalisation("bn1", 64)
    inputs = 64
    for stage, depth in enumerate(depths, start=1):
        width = 32 * 2**stage
        outputs = 4 * width if bottleneck else width
        for number in range(depth):
            name = f"layer{stage}.{number}"
            if bottleneck:
                shapes = [(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
            else:
                shapes = [(width, inputs, 3), (width, width, 3)]
            for place, (o, i, size) in enumerate(shapes, start=1):
                convolution(f"{name}.conv{place}", o, i, size)
                normalisation(f"{name}.bn{place}", o)
            if number == 0 and (stage > 1 or bottleneck):
                convolution(f"{name}.downsample.0", outputs, inputs, 1)
                normalisation(f"{name}.downsample.1", outputs)
            inputs = outputs
    layout["fc.weight"] = (1000, inputs)
    layout["fc.bias"] = (1000,)
    return layout


_PUBLISHED = {
    "resnet18": (_published([2, 2, 2, 2], bottleneck=False), 122, 11_689_512),
    "resnet34": (_published([3, 4, 6, 3], bottleneck=False), 218, 21_797_672),
    "resnet50": (_published([3, 4, 6, 3], bottleneck=True), 320, 25_557_032),
}


@pytest.mark.parametrize("name", _PUBLISHED)
def test_the_backbone_has_the_published_layout_but_for_the_classifier(name: str) -> None:
    layout, entries, parameters = _PUBLISHED[name]
    assert len(layout) == entries
    backbone = ResNetBackbone(name)
    found = {key: tuple(tensor.shape) for key, tensor in backbone.state_dict().items()}
    classifier = {"fc.weight": layout["fc.weight"], "fc.bias": layout["fc.bias"]}
    assert list((found | classifier).items()) == list(layout.items())
    counted = sum(parameter.numel() for parameter in backbone.parameters())
    assert counted + layout["fc.weight"][1] * 1000 + 1000 == parameters


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_stages_halve_the_image_from_a_quarter_on(name: str) -> None:
    backbone = ResNetBackbone(name).eval()
    maps = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(features.shape[1:]) for features in maps] == [
        (channels, 64 // stride, 96 // stride)
        for channels, stride in zip(backbone.channels, (4, 8, 16, 32), strict=True)
    ]


def test_every_task_gets_a_map_of_the_image_s_size_and_a_gradient() -> None:
    torch.manual_seed(0)
    network = DenseResNet("resnet18", 16, {"train": 5, "depth": None})
    outputs = network(torch.randn(2, 3, 50, 70))
    assert outputs["train"].shape == (2, 5, 50, 70)
    assert outputs["depth"].shape == (2, 50, 70)
    torch.stack([output.square().mean() for output in outputs.values()]).sum().backward()
    assert all(bool(p.grad is not None and p.grad.any()) for p in network.parameters())


def _imagenet_like(seed: int) -> dict[str, Tensor]:
    """Random numbers in the published layout of resnet18."""
    random = torch.Generator().manual_seed(seed)
    return {
        key: torch.rand(shape, generator=random) if shape else torch.tensor(5)
        for key, shape in _PUBLISHED["resnet18"][0].items()
    }


def test_an_imagenet_state_dict_is_loaded_without_its_classifier(tmp_path: Path) -> None:
    state = _imagenet_like(0)
    save_file(state, tmp_path / "imagenet.safetensors")
    digest = hashlib.sha256((tmp_path / "imagenet.safetensors").read_bytes()).hexdigest()
    network = DenseNetwork("resnet18", str(tmp_path / "imagenet.safetensors"), digest, 8)
    loaded = network.build({"depth": None}).get_submodule("backbone").state_dict()
    assert len(loaded) == len(state) - 2
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.items())


def test_an_old_state_dict_without_batch_counters_is_loaded(tmp_path: Path) -> None:
    state = {k: v for k, v in _imagenet_like(0).items() if not k.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "old.safetensors")
    backbone = ResNetBackbone("resnet18")
    load_backbone(backbone, tmp_path / "old.safetensors", None)
    assert torch.equal(backbone.state_dict()["conv1.weight"], state["conv1.weight"])


def _refused(folder: Path, state: dict[str, Tensor], sha256: str | None = None) -> str:
    """The sentence with which `state` is refused, the backbone being as it was."""
    save_file(state, folder / "weights.safetensors")
    backbone = ResNetBackbone("resnet18")
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    with pytest.raises(WorkloadError) as caught:
        load_backbone(backbone, folder / "weights.safetensors", sha256)
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())
    return str(caught.value)


def test_weights_that_do_not_fit_are_refused_in_one_sentence(tmp_path: Path) -> None:
    state = _imagenet_like(0)
    assert "have digest" in _refused(tmp_path, state, "0" * 64)
    without = {key: tensor for key, tensor in state.items() if key != "layer3.1.bn2.bias"}
    assert "lack tensor 'layer3.1.bn2.bias' (1 in all)" in _refused(tmp_path, without)
    more = state | {"layer1.2.conv1.weight": torch.zeros(1)}
    assert "have tensor 'layer1.2.conv1.weight'" in _refused(tmp_path, more)
    wider = state | {"conv1.weight": torch.zeros(64, 4, 7, 7)}
    assert "has shape [64, 4, 7, 7], but the network's has [64, 3, 7, 7]" in _refused(
        tmp_path, wider
    )
    broken = state | {"bn1.bias": torch.full((64,), torch.nan)}
    assert "'bn1.bias' of the backbone weights weights.safetensors is not finite" in _refused(
        tmp_path, broken
    )


def test_weights_that_are_missing_or_no_safetensors_are_refused(tmp_path: Path) -> None:
    backbone = ResNetBackbone("resnet18")
    with pytest.raises(WorkloadError, match="no backbone weights at"):
        load_backbone(backbone, tmp_path / "nowhere", None)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(WorkloadError, match="text are not a readable safetensors file"):
        load_backbone(backbone, tmp_path / "text", None)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("resnet19", None, None, 16), "'backbone' must be one of resnet18, resnet34, resnet50"),
        (("resnet18", None, None, 12), "'width' must be a multiple of 8"),
        (("resnet18", None, "00", 16), "'backbone_sha256' needs the option 'backbone_weights'"),
        (("resnet18", 7, None, 16), "'backbone_weights' must be a text, not 7"),
    ],
)
def test_bad_options_are_named(
    options: tuple[str, str | None, str | None, int], sentence: str
) -> None:
    with pytest.raises(WorkloadError, match=sentence):
        DenseNetwork(*options)


def test_images_are_normalised_as_for_imagenet() -> None:
    grey = normalised(torch.full((3, 1, 1), 0.5)).flatten()
    expected = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    assert grey.tolist() == pytest.approx(expected)
