"""Residual networks for images with a decoder a task, with ImageNet weights where there are some.

The backbone's parts are named as in torchvision (`conv1`, `layer1.0.bn2`...), so that the published
ImageNet state dicts load; its arithmetic is theirs too ("v1.5": in a bottleneck the 3 x 3
convolution carries the stride).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import WorkloadError

DECODER_GROUP: Final = 8
"""The decoders' width is a multiple of this: channels a group of their GroupNorm."""
_STAGE_WIDTHS: Final = (64, 128, 256, 512)
_CLASSIFIER: Final = ("fc.weight", "fc.bias")
_COUNTER: Final = ".num_batches_tracked"


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside an identity (He et al., 2016, figure 5 left)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int, downsample: nn.Module | None):
        """From `channels` to `width`, the image divided by `stride`."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, inputs: Tensor) -> Tensor:
        """Images [B, channels, H, W] to [B, width, H / stride, W / stride]."""
        shortcut = inputs if self.downsample is None else self.downsample(inputs)
        hidden = functional.relu(self.bn1(self.conv1(inputs)))
        return functional.relu(self.bn2(self.conv2(hidden)) + shortcut)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside an identity (He et al., 2016, figure 5 right)."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, downsample: nn.Module | None):
        """From `channels` to 4 x `width`, the image divided by `stride`."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = downsample

    def forward(self, inputs: Tensor) -> Tensor:
        """Images [B, channels, H, W] to [B, 4 width, H / stride, W / stride]."""
        shortcut = inputs if self.downsample is None else self.downsample(inputs)
        hidden = functional.relu(self.bn1(self.conv1(inputs)))
        hidden = functional.relu(self.bn2(self.conv2(hidden)))
        return functional.relu(self.bn3(self.conv3(hidden)) + shortcut)


@dataclass(frozen=True)
class _Architecture:
    block: type[BasicBlock] | type[Bottleneck]
    depths: tuple[int, int, int, int]
    """Blocks a stage."""


ARCHITECTURES: Final = {
    "resnet18": _Architecture(BasicBlock, (2, 2, 2, 2)),
    "resnet34": _Architecture(BasicBlock, (3, 4, 6, 3)),
    "resnet50": _Architecture(Bottleneck, (3, 4, 6, 3)),
}


class ResNetBackbone(nn.Module):
    """Images [B, 3, H, W] to the feature maps of four stages, at 1/4, 1/8, 1/16 and 1/32."""

    def __init__(self, architecture: str) -> None:
        """One of `ARCHITECTURES`, initialised as in He et al., 2015 (fan out)."""
        super().__init__()
        found = ARCHITECTURES[architecture]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        stages: list[nn.Sequential] = []
        for width, depth in zip(_STAGE_WIDTHS, found.depths, strict=True):
            stages.append(_stage(found.block, channels, width, depth, stride=1 + bool(stages)))
            channels = width * found.block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.channels = [width * found.block.expansion for width in _STAGE_WIDTHS]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """The stages' maps, fine to coarse."""
        features = functional.relu(self.bn1(self.conv1(inputs)))
        features = functional.max_pool2d(features, 3, 2, padding=1)
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = stage(features)
            maps.append(features)
        return maps


class PyramidDecoder(nn.Module):
    """Feature maps of several scales to one map: a light feature pyramid (Lin et al., 2017).

    A 1 x 1 convolution a scale, summed from coarse to fine, then one 3 x 3 convolution and the
    read-out; resized to the image.
    """

    def __init__(self, channels: list[int], width: int, outputs: int | None) -> None:
        """Maps of these channels, fine to coarse; `outputs` None is one number a pixel."""
        super().__init__()
        self.outputs = outputs
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.smooth = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(width // DECODER_GROUP, width),
            nn.ReLU(),
        )
        self.readout = nn.Conv2d(width, outputs or 1, 1)

    def forward(self, maps: list[Tensor], size: torch.Size) -> Tensor:
        """The task's output for images of `size` (height, width)."""
        merged: Tensor | None = None
        for lateral, features in zip(reversed(self.lateral), reversed(maps), strict=True):
            part = lateral(features)
            merged = part if merged is None else part + _resized(merged, part.shape[-2:])
        output = _resized(self.readout(self.smooth(merged)), size)
        return output.squeeze(1) if self.outputs is None else output


class DenseResNet(nn.Module):
    """Images [B, 3, H, W] to {task: [B, C, H, W]}, or [B, H, W] for a task of `None` channels."""

    def __init__(self, architecture: str, width: int, maps: Mapping[str, int | None]) -> None:
        """One of `ARCHITECTURES`, the decoders' width, and each task's channels."""
        super().__init__()
        self.backbone = ResNetBackbone(architecture)
        # The prefix keeps a task called `type` or `train` from hiding a method of nn.Module.
        self.decoders = nn.ModuleDict(
            {
                f"to_{name}": PyramidDecoder(self.backbone.channels, width, outputs)
                for name, outputs in maps.items()
            }
        )

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """One output a task."""
        maps = self.backbone(inputs)
        size = inputs.shape[-2:]
        return {
            name.removeprefix("to_"): decoder(maps, size) for name, decoder in self.decoders.items()
        }


def load_backbone(backbone: ResNetBackbone, path: Path, sha256: str | None) -> None:
    """Load an ImageNet state dict (torchvision's names, safetensors) from `path`.

    The classifier `fc` is left out; BatchNorm's counters may be missing, as they are in old files.
    Raises `WorkloadError` with one sentence where the file is not `sha256`, cannot be read, or does
    not fit; the backbone is then as it was.
    """
    expected = backbone.state_dict()
    try:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest() if sha256 else None
        if digest is not None and digest != str(sha256).lower():
            raise WorkloadError(f"the backbone weights {path.name} have digest {digest}")
        with safe_open(path, framework="pt") as tensors:
            names = set(tensors.keys()) - set(_CLASSIFIER)
            required = {name for name in expected if not name.endswith(_COUNTER)}
            if missing := sorted(required - names):
                raise WorkloadError(
                    f"the backbone weights {path.name} lack tensor {missing[0]!r}"
                    f" ({len(missing)} in all)"
                )
            if unknown := sorted(names - set(expected)):
                raise WorkloadError(
                    f"the backbone weights {path.name} have tensor {unknown[0]!r}, which this"
                    f" network does not ({len(unknown)} such in all)"
                )
            found = {name: tensors.get_tensor(name) for name in sorted(names)}
    except FileNotFoundError as error:
        raise WorkloadError(f"there are no backbone weights at {path}") from error
    except (SafetensorError, OSError) as error:
        raise WorkloadError(
            f"the backbone weights {path.name} are not a readable safetensors file: {error}"
        ) from error
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise WorkloadError(
                f"tensor {name!r} of the backbone weights {path.name} has shape"
                f" {list(tensor.shape)}, but the network's has {list(expected[name].shape)}"
            )
        if not bool(tensor.isfinite().all()):
            raise WorkloadError(
                f"tensor {name!r} of the backbone weights {path.name} is not finite"
            )
    backbone.load_state_dict(expected | found)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], channels: int, width: int, depth: int, stride: int
) -> nn.Sequential:
    outputs = width * block.expansion
    downsample = None
    if stride != 1 or channels != outputs:
        downsample = nn.Sequential(
            nn.Conv2d(channels, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
    blocks = [block(channels, width, stride, downsample)]
    blocks += [block(outputs, width, 1, None) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def _resized(maps: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
