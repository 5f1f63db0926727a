"""Any folder of arrays as a workload: the network follows from `dataset.json`."""

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import WorkloadError
from engine.workload import InstanceSet, Reporter, Split, Task
from engine.workloads.arrays_format import Array, read_description, read_ids, read_split
from engine.workloads.arrays_targets import KINDS, check_task, read_target
from engine.workloads.networks import (
    CHANNELS_A_GROUP,
    MultiTaskMLP,
    MultiTaskResNet,
    MultiTaskUNet,
)
from engine.workloads.options import multiple, whole_number
from engine.workloads.recipe import Recipe, fit
from engine.workloads.tensor_instances import TensorInstances

_LONGEST_SIDE: Final = 48
"""Pixels that the U-Net works on at most, a side, unless `downscale` says otherwise."""


class _Architecture:
    """A network's defaults: its width, its recipe but for the epochs, and how long it trains."""

    def __init__(self, width: int, batch_size: int, learning_rate: float, visits: int) -> None:
        self.width = width
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.visits = visits

    def epochs(self, instances: int) -> int:
        """Enough for `visits` instances in all: a minute or two on two cores, and 15 to 150."""
        return min(max(round(self.visits / instances), 15), 150)


_MLP: Final = _Architecture(width=256, batch_size=64, learning_rate=2e-3, visits=400_000)
_RESNET: Final = _Architecture(width=16, batch_size=32, learning_rate=2e-3, visits=110_000)
_UNET: Final = _Architecture(width=16, batch_size=8, learning_rate=2e-3, visits=10_000)


class ArraysWorkload:
    """A folder in the `arrays` format; its tasks, in the order of `dataset.json`.

    A table gets a perceptron, images a residual net, images with a dense task a U-Net that works on
    the image averaged over `downscale` x `downscale` pixels: quick, and coarse at boundaries.
    """

    name = "arrays"

    def __init__(
        self,
        path: str,
        epochs: int | None = None,
        width: int | None = None,
        limit: int | None = None,
        downscale: int | None = None,
    ) -> None:
        """Read `dataset.json` in `path`; the arrays are read when they are asked for.

        Without `epochs`, enough for a fixed number of visits; `width` as the network's own;
        `limit` trains on that many instances, chosen by the hash of their ids, with the held-out
        splits whole; `downscale` such that the longer side has at most 48 pixels.
        """
        if not isinstance(path, str):
            raise WorkloadError(f"option 'path' must be a folder's name, not {path!r}")
        self.folder = Path(path)
        self.dataset = read_description(self.folder)
        image = self.dataset.input.kind == "image"
        if len(self.dataset.input.shape) not in ((2, 3) if image else (1,)):
            raise WorkloadError(
                f"{path}: an image has the shape [height, width] or [height, width, channels] and"
                f" a table [columns], not {list(self.dataset.input.shape)}"
            )
        self._size = self.dataset.input.shape[:2] if image else ()
        for task in self.dataset.tasks:
            check_task(task, self._size)
        self._dense = {t.name: t for t in self.dataset.tasks if KINDS[t.kind].dense}
        self._architecture = _MLP if not image else _UNET if self._dense else _RESNET
        self.width = (
            self._architecture.width
            if width is None
            else multiple("width", width, CHANNELS_A_GROUP if image else 1)
        )
        self.limit = None if limit is None else whole_number("limit", limit, 1)
        self._epochs = None if epochs is None else whole_number("epochs", epochs, 1)
        if downscale is None:
            downscale = -(-max(self._size, default=1) // _LONGEST_SIDE)
        elif not self._dense:
            raise WorkloadError("option 'downscale' is for images with a dense task")
        self.downscale = whole_number("downscale", downscale, 1)
        self._splits: dict[Split, TensorInstances] = {}

    @cached_property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks of `dataset.json`."""
        return {
            task.name: KINDS[task.kind].make(task, partial(self._training_target, task.name))
            for task in self.dataset.tasks
        }

    @property
    def epochs(self) -> int | None:
        """Of the recipe; None where `dataset.json` does not count the training split."""
        counted = self.dataset.counts.get("train")
        if self._epochs is not None or not counted:
            return self._epochs
        return self._architecture.epochs(min(counted, self.limit or counted))

    def build_model(self) -> nn.Module:
        """The network for this input and these tasks."""
        vectors = {
            task.name: KINDS[task.kind].head(task)
            for task in self.dataset.tasks
            if task.name not in self._dense
        }
        shape = self.dataset.input.shape
        if not self._size:
            return MultiTaskMLP(shape[0], (self.width, self.width), vectors)
        channels = shape[2] if len(shape) == 3 else 1
        if not self._dense:
            return MultiTaskResNet(channels, self.width, vectors)
        maps = {name: KINDS[task.kind].head(task) for name, task in self._dense.items()}
        return MultiTaskUNet(channels, self.width, maps, vectors, self.downscale)

    def instances(self, split: Split) -> InstanceSet:
        """One split, read once; the held-out ones are checked to hold no training instance."""
        if split not in self._splits:
            self._splits[split] = self._read(split)
        return self._splits[split]

    def train(
        self,
        model: nn.Module,
        instances: InstanceSet,
        supervision: Tensor,
        seed: int,
        progress: Reporter,
    ) -> int:
        """Train in place on the cells of `supervision`; returns the gradient evaluations."""
        recipe = Recipe(
            # Of the whole training split: retraining on less of it is no longer a training.
            epochs=self._epochs or self._architecture.epochs(len(self.instances("train"))),
            batch_size=self._architecture.batch_size,
            learning_rate=self._architecture.learning_rate,
        )
        return fit(self, model, instances, supervision, recipe, seed, progress)

    def _read(self, split: Split) -> TensorInstances:
        arrays = read_split(self.folder, self.dataset, split)
        if split == "train":
            prepare = self._preparation(arrays["inputs"])
            if self.limit is not None:
                kept = _sample(arrays["ids"].tolist(), self.limit)
                arrays = {key: array[kept] for key, array in arrays.items()}
        else:
            prepare = self._train.prepare
            if shared := set(arrays["ids"].tolist()) & read_ids(self.folder, "train"):
                raise WorkloadError(
                    f"instance {min(shared)!r} is in train.npz and in {split}.npz;"
                    " held-out data must be unseen"
                )
        where = str(self.folder / f"{split}.npz")
        targets = {
            task.name: read_target(task, arrays[task.array], self._size, where)
            for task in self.dataset.tasks
        }
        ids = arrays["ids"].tolist()
        subjects = arrays.get("subject_ids")
        return TensorInstances(
            ids=ids,
            subjects=[None] * len(ids) if subjects is None else [str(s) for s in subjects],
            inputs=torch.from_numpy(_stored(arrays["inputs"])),
            targets=targets,
            supervision=torch.stack(
                [KINDS[t.kind].labelled(t, targets[t.name]) for t in self.dataset.tasks], dim=1
            ),
            prepare=prepare,
        )

    @property
    def _train(self) -> TensorInstances:
        self.instances("train")
        return self._splits["train"]

    def _training_target(self, name: str) -> Tensor:
        return self._train.targets[name]

    def _preparation(self, inputs: Array) -> Callable[[Tensor], Tensor]:
        """Standardisation by the training split's statistics, channels first."""
        unit = 255.0 if inputs.dtype == np.uint8 else 1.0
        channels = inputs.shape[-1] if inputs.ndim in (2, 4) else 1
        given = self.dataset.input.train_statistics
        if given is None:
            values = inputs.reshape(-1, channels)
            mean = values.mean(0, dtype=np.float64) / unit
            std = values.std(0, dtype=np.float64) / unit
        else:
            mean, std = np.array(given.mean), np.array(given.std)
            if mean.shape != (channels,) or std.shape != (channels,):
                raise WorkloadError(
                    f"{self.folder}: input.train_statistics must have {channels} values each"
                )
        std = np.where(std > 0, std, 1.0)
        return partial(
            _prepare,
            unit=unit,
            mean=torch.from_numpy(mean).float(),
            std=torch.from_numpy(std).float(),
            image=bool(self._size),
        )


def _prepare(inputs: Tensor, unit: float, mean: Tensor, std: Tensor, image: bool) -> Tensor:
    """Standardised float32: [B, C, H, W] from [B, H, W, C] or [B, H, W], or a table as it is."""
    if image and inputs.dim() == 3:
        inputs = inputs.unsqueeze(-1)
    standardised = (inputs.float() / unit - mean) / std
    return standardised.movedim(-1, 1).contiguous() if image else standardised


def _stored(inputs: Array) -> Array:
    """Bytes as they are; anything else as float32."""
    return inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32)


def _sample(ids: list[str], count: int) -> Array:
    """Positions of `count` ids, in order: those with the smallest sha256."""
    ranked = sorted(range(len(ids)), key=lambda row: hashlib.sha256(ids[row].encode()).digest())
    return np.sort(np.array(ranked[:count]))
