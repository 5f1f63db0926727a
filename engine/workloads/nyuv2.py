"""NYU Depth v2 in the layout of multi-task research: indoor scenes with three dense tasks.

    FOLDER/train/image/0.npy    [H, W, 3], red green blue, 0 .. 1 (or bytes)
    FOLDER/train/label/0.npy    [H, W], classes from 0; -1 (or 255) where nobody labelled
    FOLDER/train/depth/0.npy    [H, W, 1] or [H, W], metres; 0 where nothing was measured
    FOLDER/train/normal/0.npy   [H, W, 3], unit vectors; 0 where nothing was measured
    FOLDER/val/...              likewise

It is that of MTAN (Liu, Johns and Davison, 2019) and of those who took its files over, with 13
classes and 288 x 384 pixels; 40 classes work alike. `val` is what the field reports on, so it is
the test split here, and the validation split is a fixed part of `train`. The layout does not say
which room a frame shows: frames of one room can be in both parts. Nothing is fetched.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.errors import WorkloadError
from engine.tasks.depth import Depth
from engine.tasks.normals import Normals
from engine.tasks.segmentation import Segmentation
from engine.workload import InstanceSet, Reporter, Split, Task
from engine.workloads.dense_network import DenseNetwork, normalised
from engine.workloads.folder_instances import (
    Files,
    FolderInstances,
    TargetSource,
    existing_folder,
    held_out,
    unreadable,
)
from engine.workloads.options import share, whole_number
from engine.workloads.recipe import Recipe, fit

_KINDS: Final = ("image", "label", "depth", "normal")
_CLASS_COUNTS: Final = (13, 40)
_UNLABELLED: Final = 255
_TYPICAL_DEPTH: Final = 3.0
"""Metres; the unit of the network's predictions."""
_FOLDERS: Final[Mapping[Split, str]] = {"train": "train", "val": "train", "test": "val"}


class NYUv2Workload:
    """`segmentation` (13 or 40 classes), `depth` (metres) and `normals` of indoor photographs."""

    name = "nyuv2"

    def __init__(
        self,
        folder: str,
        classes: int = 13,
        backbone: str = "resnet18",
        backbone_weights: str | None = None,
        backbone_sha256: str | None = None,
        width: int = 64,
        epochs: int = 60,
        batch_size: int = 8,
        learning_rate: float = 3e-4,
        validation_share: float = 0.2,
    ) -> None:
        """Where the data are, the network (`DenseNetwork`), the recipe, and the part held out."""
        self.folder = existing_folder(Path(folder))
        if classes not in _CLASS_COUNTS:
            raise WorkloadError(f"option 'classes' must be 13 or 40, not {classes!r}")
        self.classes = classes
        self.network = DenseNetwork(backbone, backbone_weights, backbone_sha256, width)
        self.recipe = Recipe(
            epochs=whole_number("epochs", epochs, 1),
            batch_size=whole_number("batch_size", batch_size, 1),
            learning_rate=share("learning_rate", learning_rate, 1.0),
        )
        self.validation_share = share("validation_share", validation_share, 0.5)
        self._instances: dict[Split, FolderInstances] = {}

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Segmentation, depth and normals."""
        return {
            "segmentation": Segmentation("segmentation", self.classes, _UNLABELLED),
            "depth": Depth("depth", scale=_TYPICAL_DEPTH),
            "normals": Normals("normals"),
        }

    @property
    def epochs(self) -> int:
        """Of the recipe."""
        return self.recipe.epochs

    def build_model(self) -> nn.Module:
        """A residual backbone with three pyramid decoders."""
        return self.network.build({"segmentation": self.classes, "depth": None, "normals": 3})

    def instances(self, split: Split) -> InstanceSet:
        """The frames of a split, ids `train/12` or `val/12` after folder and file."""
        if split not in self._instances:
            self._instances[split] = self._list(split)
        return self._instances[split]

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

    def _list(self, split: Split) -> FolderInstances:
        part = _FOLDERS[split]
        folders = {kind: existing_folder(self.folder / part / kind) for kind in _KINDS}
        stems = [path.stem for path in folders["image"].glob("*.npy")]
        stems.sort(key=lambda stem: (len(stem), stem))  # 9 before 10
        ids = [f"{part}/{stem}" for stem in stems]
        if split != "test":
            held = split == "val"
            ids = [name for name in ids if held_out(name, self.validation_share) == held]
        if not ids:
            raise WorkloadError(f"the {split} split of {self.folder} has no image")
        files = [
            {kind: folder / f"{name.partition('/')[2]}.npy" for kind, folder in folders.items()}
            for name in ids
        ]
        targets = {
            "segmentation": TargetSource(self._read_labels, _any_labelled),
            "depth": TargetSource(_read_depth, _any_positive),
            "normals": TargetSource(_read_normals, _any_positive_length),
        }
        return FolderInstances(ids, files, _read_image, targets)

    def _read_labels(self, files: Files) -> Tensor:
        """Uint8 [H, W]."""
        path = files["label"]
        labels = _load(path, channels=None)
        labels = np.where((labels < 0) | np.isnan(labels), _UNLABELLED, labels)
        wrong = labels[(labels >= self.classes) & (labels != _UNLABELLED)]
        if len(wrong):
            raise WorkloadError(f"{path} has the label {wrong[0]:g}, beyond {self.classes} classes")
        return torch.from_numpy(labels.astype(np.uint8))


def _read_image(files: Files) -> Tensor:
    """Float [3, H, W], normalised."""
    image = torch.from_numpy(_load(files["image"], channels=3))
    if not bool(image.isfinite().all()):
        raise WorkloadError(f"{files['image']} holds a value that is NaN or infinite")
    return normalised(image.movedim(2, 0))


def _read_depth(files: Files) -> Tensor:
    """Float [H, W]; 0 where nothing was measured."""
    depth = _load(files["depth"], channels=None)
    return torch.from_numpy(np.where(np.isfinite(depth), depth, 0))


def _read_normals(files: Files) -> Tensor:
    """Float [3, H, W]; 0 where nothing was measured."""
    normals = _load(files["normal"], channels=3)
    normals[~np.isfinite(normals).all(2)] = 0
    return torch.from_numpy(normals).movedim(2, 0).contiguous()


def _load(path: Path, channels: int | None) -> NDArray[np.float32]:
    """An array [H, W, channels] (`None`: [H, W]) as float32, bytes scaled to 0 .. 1 if an image."""
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise unreadable(path, error) from error
    if channels is None and array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.shape[2:] != (() if channels is None else (channels,)) or array.ndim < 2:
        raise WorkloadError(
            f"{path} has shape {list(array.shape)}; it must be height x width"
            f"{f' x {channels}' if channels else ''}"
        )
    if array.dtype.kind not in "fiu":
        raise WorkloadError(f"{path} holds {array.dtype} where numbers belong")
    scaled = channels is not None and array.dtype == np.uint8
    return array.astype(np.float32) / np.float32(255 if scaled else 1)


def _any_labelled(target: Tensor) -> bool:
    return bool((target != _UNLABELLED).any())


def _any_positive(target: Tensor) -> bool:
    return bool((target > 0).any())


def _any_positive_length(target: Tensor) -> bool:
    return bool((target != 0).any())
