"""Small multi-task networks: a perceptron for vectors, a residual net and a U-Net for images.

GroupNorm throughout: it keeps no running statistics, so nothing of the training data stays behind
outside the weights, and what an instance shares a batch with cannot reach its output.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.workloads.heads import MapHeads, VectorHeads

CHANNELS_A_GROUP = 8
"""Widths of the image networks are multiples of this."""
_GRID = 2
"""The residual net keeps this many cells a side: points and strokes need to know where."""


class MultiTaskMLP(nn.Module):
    """Vectors [B, F] through shared hidden layers to {task: [B, *shape]}."""

    def __init__(
        self, features: int, hidden: Sequence[int], heads: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Hidden layers of these widths, each with a ReLU; `heads` as for `VectorHeads`."""
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(features, width), nn.ReLU()]
            features = width
        self.backbone = nn.Sequential(*layers)
        self.heads = VectorHeads(features, heads)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """One output a task."""
        outputs: dict[str, Tensor] = self.heads(self.backbone(inputs))
        return outputs


class MultiTaskResNet(nn.Module):
    """Images [B, C, H, W] through a convolution and two residual stages to {task: [B, *shape]}."""

    def __init__(self, channels: int, width: int, heads: Mapping[str, tuple[int, ...]]) -> None:
        """Of `width`, 2 and 4 times it, each halving the image; `heads` as for `VectorHeads`."""
        super().__init__()
        self.stages = nn.Sequential(
            _convolution(channels, width, stride=2),
            _ResidualStage(width, 2 * width),
            _ResidualStage(2 * width, 4 * width),
        )
        self.shared = nn.Linear(4 * width * _GRID**2, 16 * width)
        self.heads = VectorHeads(16 * width, heads)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """One output a task."""
        cells = functional.adaptive_avg_pool2d(
            self.stages(inputs.contiguous(memory_format=torch.channels_last)), _GRID
        )
        outputs: dict[str, Tensor] = self.heads(functional.relu(self.shared(cells.flatten(1))))
        return outputs


class MultiTaskUNet(nn.Module):
    """Images [B, C, H, W] to a map a task, [B, C, H, W] or [B, H, W], and image-level outputs.

    With `downscale` d the network works on the image averaged over d x d pixels and its outputs are
    interpolated back: d^2 times cheaper, and blind to anything finer than d pixels.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        maps: Mapping[str, int | None],
        vectors: Mapping[str, tuple[int, ...]],
        downscale: int = 1,
    ) -> None:
        """Three levels of `width`, 2 and 8 times it: most weights where pixels are fewest.

        `maps` as for `MapHeads`; `vectors` as for `VectorHeads`, read from the lowest level's mean.
        """
        super().__init__()
        self.downscale = downscale
        self.down_1 = _double(channels, width)
        self.down_2 = _double(width, 2 * width)
        self.bottom = _double(2 * width, 8 * width)
        self.up_2 = _double(10 * width, 2 * width)
        self.up_1 = _double(3 * width, width)
        self.maps = MapHeads(width, maps)
        self.vectors = VectorHeads(8 * width, vectors)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """One output a task."""
        # Convolutions on the CPU are faster by up to a half with the channels innermost.
        small = inputs.contiguous(memory_format=torch.channels_last)
        if self.downscale > 1:
            small = functional.avg_pool2d(small, self.downscale, ceil_mode=True)
        fine = self.down_1(small)
        middle = self.down_2(functional.max_pool2d(fine, 2, ceil_mode=True))
        coarse = self.bottom(functional.max_pool2d(middle, 2, ceil_mode=True))
        middle = self.up_2(torch.cat([_resized(coarse, middle.shape[-2:]), middle], 1))
        fine = self.up_1(torch.cat([_resized(middle, fine.shape[-2:]), fine], 1))
        outputs = {
            name: self._full_size(output, inputs.shape[-2:])
            for name, output in self.maps(fine).items()
        }
        outputs.update(self.vectors(coarse.mean((2, 3))))
        return outputs

    def _full_size(self, output: Tensor, size: torch.Size) -> Tensor:
        if self.downscale == 1:
            return output
        if output.dim() == 3:
            return _resized(output.unsqueeze(1), size).squeeze(1)
        return _resized(output, size)


class _ResidualStage(nn.Module):
    """A convolution that halves the image, and a residual pair of convolutions after it."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.halve = _convolution(channels, width, stride=2)
        self.residual = _double(width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        halved: Tensor = self.halve(inputs)
        result: Tensor = halved + self.residual(halved)
        return result


def _convolution(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(width // CHANNELS_A_GROUP, width),
        nn.ReLU(),
    )


def _double(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(_convolution(channels, width), _convolution(width, width))


def _resized(maps: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
