"""What the dense workloads share: a residual network, with or without ImageNet weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from engine.errors import WorkloadError
from engine.workloads.options import multiple
from engine.workloads.resnet import ARCHITECTURES, DECODER_GROUP, DenseResNet, load_backbone

_IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
_IMAGENET_STD: Final = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DenseNetwork:
    """The network's options, checked."""

    backbone: str
    weights: str | None
    """A safetensors file with an ImageNet state dict; none: the backbone starts at random."""
    sha256: str | None
    """Of that file, if it is to be checked."""
    width: int
    """Of the decoders."""

    def __post_init__(self) -> None:
        """Raise `WorkloadError` naming the first bad option."""
        if self.backbone not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise WorkloadError(f"option 'backbone' must be one of {known}, not {self.backbone!r}")
        for option, value in (("backbone_weights", self.weights), ("backbone_sha256", self.sha256)):
            if value is not None and not isinstance(value, str):
                raise WorkloadError(f"option {option!r} must be a text, not {value!r}")
        if self.sha256 is not None and self.weights is None:
            raise WorkloadError("option 'backbone_sha256' needs the option 'backbone_weights'")
        multiple("width", self.width, DECODER_GROUP)

    def build(self, maps: Mapping[str, int | None]) -> nn.Module:
        """A fresh network with a decoder for each task's channels."""
        network = DenseResNet(self.backbone, self.width, maps)
        if self.weights is not None:
            load_backbone(network.backbone, Path(self.weights), self.sha256)
        return network


def normalised(image: Tensor) -> Tensor:
    """Red, green and blue [3, H, W] of 0 .. 1 as ImageNet's networks take them."""
    mean, std = torch.tensor(_IMAGENET_MEAN), torch.tensor(_IMAGENET_STD)
    return (image - mean.view(3, 1, 1)) / std.view(3, 1, 1)
