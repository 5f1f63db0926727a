"""The ends of a multi-task network: one linear read-out a task."""

import math
from collections.abc import Mapping

from torch import Tensor, nn


class VectorHeads(nn.Module):
    """One linear layer a task on a shared feature vector [B, F]; gives {task: [B, *shape]}.

    The shape is () for a number, (C,) for logits, (K, 2) for points.
    """

    def __init__(self, features: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Read `features` numbers; `shapes` gives each task's output shape without the batch."""
        super().__init__()
        self.shapes = dict(shapes)
        # The prefix keeps a task called `type` or `train` from hiding a method of nn.Module.
        self.layers = nn.ModuleDict(
            {f"to_{name}": nn.Linear(features, math.prod(s)) for name, s in self.shapes.items()}
        )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """One output a task."""
        return {
            name: self.layers[f"to_{name}"](features).view(len(features), *shape)
            for name, shape in self.shapes.items()
        }


class MapHeads(nn.Module):
    """One 1 x 1 convolution a task on a shared feature map [B, F, H, W].

    Gives {task: [B, C, H, W]}, or [B, H, W] for a task of `None` channels: one number a pixel.
    """

    def __init__(self, features: int, channels: Mapping[str, int | None]) -> None:
        """Read `features` channels; `channels` gives each task's."""
        super().__init__()
        self.channels = dict(channels)
        self.layers = nn.ModuleDict(
            {f"to_{name}": nn.Conv2d(features, c or 1, 1) for name, c in self.channels.items()}
        )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """One output a task."""
        outputs = {name: self.layers[f"to_{name}"](features) for name in self.channels}
        return {
            name: output if self.channels[name] is not None else output.squeeze(1)
            for name, output in outputs.items()
        }
