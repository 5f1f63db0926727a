"""Procedural rooms with three dense tasks: a full multi-task problem that needs no download."""

from collections.abc import Mapping
from functools import cache
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from engine.tasks.depth import Depth
from engine.tasks.normals import Normals
from engine.tasks.segmentation import Segmentation
from engine.workload import InstanceSet, Reporter, Split, Task
from engine.workloads.networks import CHANNELS_A_GROUP, MultiTaskUNet
from engine.workloads.options import multiple, whole_number
from engine.workloads.recipe import Recipe, fit
from engine.workloads.rooms import CLASSES, draw_room
from engine.workloads.tensor_instances import TensorInstances, all_supervised

_SPLITS: Final = ("train", "val", "test")
_SEED: Final = 4
_ROOMS_A_HOME: Final = 5
_TYPICAL_DEPTH: Final = 3.0
"""Metres; the unit of the network's predictions."""


def _prepare(images: Tensor) -> Tensor:
    """Bytes to about -2 .. 2."""
    return (images.float() / 255 - 0.5) * 4


@cache
def _rooms(split: Split, count: int, resolution: int) -> TensorInstances:
    """The first `count` rooms of a split; a room is the same whatever the count."""
    rooms = [
        draw_room(np.random.default_rng([_SEED, _SPLITS.index(split), number]), resolution)
        for number in range(count)
    ]
    targets = {
        "segmentation": torch.from_numpy(np.stack([room.segmentation for room in rooms])),
        "depth": torch.from_numpy(np.stack([room.depth for room in rooms])),
        "normals": torch.from_numpy(np.stack([room.normals for room in rooms])),
    }
    return TensorInstances(
        ids=[f"room-{split}-{number:04d}" for number in range(count)],
        subjects=[f"home-{split}-{number // _ROOMS_A_HOME:03d}" for number in range(count)],
        inputs=torch.from_numpy(np.stack([room.image for room in rooms])),
        targets=targets,
        supervision=all_supervised(count, len(targets)),
        prepare=_prepare,
    )


class ScenesWorkload:
    """Rooms with `segmentation` (5 classes), `depth` (metres) and `normals`.

    Subjects are invented homes of five rooms each, whose rooms have nothing else in common; no home
    is in two splits.
    """

    name = "scenes"

    def __init__(
        self, size: int = 200, resolution: int = 32, width: int = 16, epochs: int = 60
    ) -> None:
        """Training rooms (val and test: half of it each), pixels a side, channels, passes."""
        self.size = whole_number("size", size, 2)
        self.resolution = whole_number("resolution", resolution, 8)
        self.width = multiple("width", width, CHANNELS_A_GROUP)
        self.recipe = Recipe(
            epochs=whole_number("epochs", epochs, 1), batch_size=16, learning_rate=4e-3
        )

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Segmentation, depth and normals."""
        return {
            "segmentation": Segmentation("segmentation", len(CLASSES)),
            "depth": Depth("depth", scale=_TYPICAL_DEPTH),
            "normals": Normals("normals"),
        }

    @property
    def epochs(self) -> int:
        """Of the recipe."""
        return self.recipe.epochs

    def build_model(self) -> nn.Module:
        """A U-Net, 266 k parameters at the default width."""
        maps = {"segmentation": len(CLASSES), "depth": None, "normals": 3}
        return MultiTaskUNet(3, self.width, maps, vectors={})

    def instances(self, split: Split) -> InstanceSet:
        """`size` rooms for training, half as many for validation and for test."""
        count = self.size if split == "train" else self.size // 2
        return _rooms(split, count, self.resolution)

    def train(
        self,
        model: nn.Module,
        instances: InstanceSet,
        supervision: Tensor,
        seed: int,
        progress: Reporter,
    ) -> int:
        """Train in place on the cells of `supervision`; returns the gradient evaluations."""
        return fit(self, model, instances, supervision, self.recipe, seed, progress)
