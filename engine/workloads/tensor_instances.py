"""Instances that fit in memory: one tensor of inputs and one of targets a task."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.errors import WorkloadError
from engine.workload import Batch

Preparation = Callable[[Tensor], Tensor]


def as_floats(inputs: Tensor) -> Tensor:
    """The inputs as float32, unscaled."""
    return inputs.float()


def content_digests(inputs: Tensor, targets: Mapping[str, Tensor]) -> list[str]:
    """Hex sha256 of each instance's input and targets, as stored, tasks in name order."""
    arrays = [inputs.numpy(), *(targets[name].numpy() for name in sorted(targets))]
    digests = []
    for index in range(len(inputs)):
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(array[index].tobytes())
        digests.append(digest.hexdigest())
    return digests


@dataclass(frozen=True)
class TensorInstances:
    """N instances of one split, held as they are stored and prepared batch by batch."""

    ids: Sequence[str]
    subjects: Sequence[str | None]
    inputs: Tensor
    """[N, ...], as stored (bytes for images)."""
    targets: Mapping[str, Tensor]
    """Each [N, ...]."""
    supervision: Tensor
    """bool [N, T]: which instance carries a label for which task."""
    prepare: Preparation = as_floats
    """From stored inputs to what the network takes: scaling, normalisation."""
    digests: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        """Check that every array counts the same instances, and take the digests."""
        count = len(self.ids)
        lengths = {
            "subjects": len(self.subjects),
            "inputs": len(self.inputs),
            "supervision": len(self.supervision),
            **{f"targets of {name}": len(target) for name, target in self.targets.items()},
        }
        for name, length in lengths.items():
            if length != count:
                raise WorkloadError(f"{count} instance ids but {length} {name}")
        twice = [name for name, times in Counter(self.ids).items() if times > 1]
        if twice:
            raise WorkloadError(f"instance id {twice[0]!r} occurs more than once")
        object.__setattr__(self, "digests", content_digests(self.inputs, self.targets))

    def __len__(self) -> int:
        """N."""
        return len(self.ids)

    def batch(self, indices: Tensor) -> Batch:
        """The instances at these positions (int64 [B]), prepared for the network."""
        return Batch(
            self.prepare(self.inputs[indices]),
            {name: target[indices] for name, target in self.targets.items()},
        )


def all_supervised(instances: int, tasks: int) -> Tensor:
    """The supervision of data in which every instance carries every label: bool [N, T], true."""
    return torch.ones(instances, tasks, dtype=torch.bool)
