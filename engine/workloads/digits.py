"""Scikit-learn's handwritten digits with three tasks on noisy labels: small, real, offline.

Labels are wrong for a fixed share of the instances of every split, by one process. The network can
only learn a wrong label by heart, so a member of the training set is told from a stranger, and
forgetting has something to remove; held-out data follow the same distribution as the forget set.

The data set does not say who wrote which digit. The subjects are invented: blocks of ten instances,
`writer-000` to `writer-179`, no writer in two splits.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

from engine.tasks.classification import Classification
from engine.workload import InstanceSet, Reporter, Split, Task
from engine.workloads.networks import MultiTaskMLP
from engine.workloads.options import share, whole_number
from engine.workloads.recipe import Recipe, fit
from engine.workloads.tensor_instances import TensorInstances, all_supervised

_DATA_SEED: Final = 1797
"""Of the order and the label noise; no option, so that an id always means one record."""
_ENDS: Final = {"train": (0, 700), "val": (700, 1250), "test": (1250, 1797)}
_INSTANCES_A_WRITER: Final = 10
_PIXEL_MAXIMUM: Final = 16.0


def _noisy(
    labels: NDArray[np.int64], classes: int, noise: float, random: np.random.Generator
) -> NDArray[np.int64]:
    """The labels with a share `noise` of them replaced by another class."""
    flipped = random.random(len(labels)) < noise
    shift = random.integers(1, classes, len(labels))
    return np.where(flipped, (labels + shift) % classes, labels)


class DigitsWorkload:
    """8 x 8 digits: `digit` (10 classes), `parity` (even, odd), `magnitude` (below 5, 5 and up)."""

    name = "digits"

    def __init__(self, noise: float = 0.25, hidden: int = 256, epochs: int = 100) -> None:
        """Wrong labels as a share, width of the two hidden layers, passes over the data."""
        self.noise = share("noise", noise, 0.5)
        self.hidden = whole_number("hidden", hidden, 1)
        self.recipe = Recipe(epochs=whole_number("epochs", epochs, 1), learning_rate=3e-3)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Digit, parity and magnitude."""
        return {
            "digit": Classification("digit", 10),
            "parity": Classification("parity", 2),
            "magnitude": Classification("magnitude", 2),
        }

    @property
    def epochs(self) -> int:
        """Of the recipe."""
        return self.recipe.epochs

    def build_model(self) -> nn.Module:
        """A perceptron of two hidden layers, 86 k parameters at the default width."""
        return MultiTaskMLP(
            64, (self.hidden, self.hidden), {"digit": (10,), "parity": (2,), "magnitude": (2,)}
        )

    @cached_property
    def _data(self) -> tuple[Tensor, dict[str, Tensor], NDArray[np.int64]]:
        """Inputs [1797, 64], noisy targets, and each row's position in scikit-learn's order."""
        images, digits = load_digits(return_X_y=True)
        random = np.random.default_rng(_DATA_SEED)
        order = random.permutation(len(digits))
        digits = digits[order].astype(np.int64)
        targets = {
            "digit": _noisy(digits, 10, self.noise, random),
            "parity": _noisy(digits % 2, 2, self.noise, random),
            "magnitude": _noisy((digits >= 5).astype(np.int64), 2, self.noise, random),
        }
        inputs = torch.from_numpy((images[order] / _PIXEL_MAXIMUM).astype(np.float32))
        return inputs, {name: torch.from_numpy(t) for name, t in targets.items()}, order

    def instances(self, split: Split) -> InstanceSet:
        """700 for training, 550 for validation, 547 for test, in a fixed order."""
        inputs, targets, order = self._data
        start, end = _ENDS[split]
        return TensorInstances(
            ids=[f"digit-{position:04d}" for position in order[start:end]],
            subjects=[f"writer-{row // _INSTANCES_A_WRITER:03d}" for row in range(start, end)],
            inputs=inputs[start:end],
            targets={name: target[start:end] for name, target in targets.items()},
            supervision=all_supervised(end - start, len(targets)),
        )

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
