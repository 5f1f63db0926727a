"""Two independent halves of the held-out data: one calibrates a method, the other judges it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.workload import Batch, InstanceSet


@dataclass(frozen=True)
class Subset:
    """Some instances of a set, in their order there."""

    whole: InstanceSet
    positions: Tensor
    """int64 [M], ascending."""

    @property
    def ids(self) -> Sequence[str]:
        """As in the whole set."""
        return [self.whole.ids[position] for position in self.positions.tolist()]

    @property
    def subjects(self) -> Sequence[str | None]:
        """As in the whole set."""
        return [self.whole.subjects[position] for position in self.positions.tolist()]

    @property
    def digests(self) -> Sequence[str]:
        """As in the whole set."""
        return [self.whole.digests[position] for position in self.positions.tolist()]

    @property
    def supervision(self) -> Tensor:
        """Which instance carries which label, bool [M, T]."""
        return self.whole.supervision[self.positions]

    def __len__(self) -> int:
        """M."""
        return len(self.positions)

    def batch(self, indices: Tensor) -> Batch:
        """The instances at these positions of the subset."""
        return self.whole.batch(self.positions[indices])


def halves(instances: InstanceSet) -> tuple[Subset, Subset]:
    """The calibrating and the judging half.

    A subject is never in both. The cut depends on the ids alone (sha256), on no seed: whoever runs
    a second job on the same data cannot draw a more favourable judge.
    """
    groups: dict[str, list[int]] = {}
    for position, (name, subject) in enumerate(zip(instances.ids, instances.subjects, strict=True)):
        groups.setdefault(cluster_of(name, subject), []).append(position)
    sides: tuple[list[int], list[int]] = ([], [])
    for key in sorted(groups, key=lambda key: hashlib.sha256(key.encode()).digest()):
        smaller = min(sides, key=len)
        smaller.extend(groups[key])
    calibrating, judging = (torch.tensor(sorted(side), dtype=torch.int64) for side in sides)
    return Subset(instances, calibrating), Subset(instances, judging)


def cluster_of(name: str, subject: str | None) -> str:
    """What an instance shares its fate with: its subject, or only itself."""
    return f"instance {name}" if subject is None else f"subject {subject}"
