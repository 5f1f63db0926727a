"""PASCAL-Context in the layout of multi-task research: photographs with five dense tasks.

    FOLDER/ImageSets/Context/{train,val}.txt      names, one a line
    FOLDER/JPEGImages/NAME.jpg
    FOLDER/semseg/{VOC12,pascal-context}/NAME.png 0 .. 20, 255 unlabelled; VOC12's where it has one
    FOLDER/human_parts/NAME.mat                   PASCAL-Part's annotation `anno`
    FOLDER/pascal-context/trainval/NAME.mat       `LabelMap`: edges are where its classes meet
    FOLDER/normals_distill/NAME.png               (n + 1) / 2 as red green blue
    FOLDER/sal_distill/NAME.png                   salient above the middle grey

It is that of ASTMT (Maninis, Radosavovic and Kokkinos, 2019) and of those who took its files over,
and the targets are made as there: six parts of people and the background, an image that shows none
is unlabelled; normals only in classes that the network they were distilled from has seen indoors;
image and targets resized to one square. `val` is what the field reports on, so it is the test split
here, and the validation split is a fixed part of `train`. Nothing is fetched.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from engine.errors import WorkloadError
from engine.tasks.binary_segmentation import BinarySegmentation
from engine.tasks.normals import Normals
from engine.tasks.segmentation import Segmentation
from engine.workload import InstanceSet, Reporter, Split, Task
from engine.workloads.dense_network import DenseNetwork
from engine.workloads.folder_instances import (
    Files,
    FolderInstances,
    TargetSource,
    existing_folder,
    held_out,
    unreadable,
)
from engine.workloads.options import multiple, share, whole_number
from engine.workloads.pascal_targets import (
    CLASSES,
    HUMAN_PARTS,
    UNLABELLED,
    read_edges,
    read_human_parts,
    read_image,
    read_normals,
    read_saliency,
    read_semseg,
)
from engine.workloads.recipe import Recipe, fit

_COARSEST: Final = 32
"""The backbone divides the image by this."""
_LISTS: Final[Mapping[Split, str]] = {"train": "train", "val": "train", "test": "val"}


class PascalWorkload:
    """`semseg`, `human_parts`, `saliency`, `edges` and `normals` of PASCAL-Context."""

    name = "pascal"

    def __init__(
        self,
        folder: str,
        resolution: int = 512,
        backbone: str = "resnet18",
        backbone_weights: str | None = None,
        backbone_sha256: str | None = None,
        width: int = 64,
        epochs: int = 60,
        batch_size: int = 8,
        learning_rate: float = 3e-4,
        validation_share: float = 0.2,
    ) -> None:
        """Where the data are, pixels a side, the network, the recipe, and the part held out."""
        self.folder = existing_folder(Path(folder))
        self.resolution = multiple("resolution", resolution, _COARSEST)
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
        """The five, in the order of the literature."""
        return {
            "semseg": Segmentation("semseg", CLASSES, UNLABELLED),
            "human_parts": Segmentation("human_parts", HUMAN_PARTS, UNLABELLED),
            "saliency": BinarySegmentation("saliency"),
            "edges": BinarySegmentation("edges"),
            "normals": Normals("normals"),
        }

    @property
    def epochs(self) -> int:
        """Of the recipe."""
        return self.recipe.epochs

    def build_model(self) -> nn.Module:
        """A residual backbone with five pyramid decoders."""
        return self.network.build(
            {
                "semseg": CLASSES,
                "human_parts": HUMAN_PARTS,
                "saliency": None,
                "edges": None,
                "normals": 3,
            }
        )

    def instances(self, split: Split) -> InstanceSet:
        """The photographs of a split, ids as in its list."""
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
        path = self.folder / "ImageSets" / "Context" / f"{_LISTS[split]}.txt"
        try:
            names = path.read_text(encoding="utf-8").split()
        except FileNotFoundError as error:
            raise WorkloadError(f"there is no file {path}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise unreadable(path, error) from error
        if len(set(names)) != len(names):
            raise WorkloadError(f"{path} names an image twice")
        if split != "test":
            held = split == "val"
            names = [name for name in names if held_out(name, self.validation_share) == held]
        if not names:
            raise WorkloadError(f"the {split} split of {self.folder} has no image")
        side = self.resolution
        targets = {
            "semseg": TargetSource(partial(read_semseg, side=side), _any_labelled),
            "human_parts": TargetSource(partial(read_human_parts, side=side), _any_labelled),
            "saliency": TargetSource(partial(read_saliency, side=side), None),
            "edges": TargetSource(partial(read_edges, side=side), None),
            "normals": TargetSource(partial(read_normals, side=side), _any_direction),
        }
        return FolderInstances(
            names, [self._files(name) for name in names], partial(read_image, side=side), targets
        )

    def _files(self, name: str) -> Files:
        semseg = self.folder / "semseg" / "VOC12" / f"{name}.png"
        if not semseg.is_file():
            semseg = self.folder / "semseg" / "pascal-context" / f"{name}.png"
        return {
            "image": self.folder / "JPEGImages" / f"{name}.jpg",
            "semseg": semseg,
            "human_parts": self.folder / "human_parts" / f"{name}.mat",
            "context": self.folder / "pascal-context" / "trainval" / f"{name}.mat",
            "normals": self.folder / "normals_distill" / f"{name}.png",
            "saliency": self.folder / "sal_distill" / f"{name}.png",
        }


def _any_labelled(target: Tensor) -> bool:
    return bool((target != UNLABELLED).any())


def _any_direction(target: Tensor) -> bool:
    return bool((target != 0).any())
