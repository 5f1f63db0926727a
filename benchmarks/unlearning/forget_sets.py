"""Which cells a run forgets: from a name such as `random:0.05` to bool [N, T] matrices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.workload import InstanceSet

Kind = Literal["random", "subject", "memorised", "sequence"]
Memorisation = Callable[[], Tensor]
"""Scores [N], the higher the more an instance was learnt by heart; asked for only if needed."""

_DEFAULT_MEMORISED = 0.05
_DEFAULT_SEQUENCE = 0.02
DEFAULT = "random:0.01,random:0.05,random:0.1,random:0.2,random:0.5,subject,memorised,sequence:10"
FORMS = "random:SHARE, subject[:COUNT], memorised[:SHARE], sequence:COUNT[:SHARE EACH]"


class NoForgetSet(ValueError):
    """The data have no such forget set; the message says why."""


@dataclass(frozen=True)
class ForgetSet:
    """How to draw what is to be forgotten."""

    name: str
    kind: Kind
    share: float = 0.0
    """Of the training instances; of a sequence, of each request."""
    count: int = 1
    """Of subjects, or of requests in a row."""

    def draw(
        self, train: InstanceSet, targets: Sequence[bool], seed: int, memorisation: Memorisation
    ) -> list[Tensor]:
        """The cells of each request, bool [N, T] each, disjoint; only a sequence has several.

        `targets` says of each task whether it is to be forgotten. Raises `NoForgetSet` where the
        data have no subjects, or too few labelled instances.
        """
        generator = torch.Generator().manual_seed(seed)
        taught = train.supervision & torch.tensor(list(targets))
        candidates = taught.any(1).nonzero().squeeze(1)
        return [
            _cells(taught, rows) for rows in self._rows(train, candidates, generator, memorisation)
        ]

    def _rows(
        self,
        train: InstanceSet,
        candidates: Tensor,
        generator: torch.Generator,
        memorisation: Memorisation,
    ) -> list[Tensor]:
        if self.kind == "subject":
            return [self._of_subjects(train, candidates, generator)]
        size = max(1, round(self.share * len(train)))
        if size * self.count >= len(candidates):
            raise NoForgetSet(
                f"{self.name} asks for {size * self.count} of {len(candidates)} labelled instances"
            )
        if self.kind == "memorised":
            scores = memorisation()[candidates]
            return [candidates[scores.argsort(descending=True, stable=True)[:size]]]
        order = candidates[torch.randperm(len(candidates), generator=generator)]
        return list(order[: size * self.count].split(size))

    def _of_subjects(
        self, train: InstanceSet, candidates: Tensor, generator: torch.Generator
    ) -> Tensor:
        subjects = train.subjects
        rows = candidates.tolist()
        names = sorted({name for row in rows if (name := subjects[row]) is not None})
        if len(names) <= self.count:
            raise NoForgetSet(f"{self.name} asks for {self.count} of {len(names)} known subjects")
        order = torch.randperm(len(names), generator=generator)[: self.count].tolist()
        chosen = {names[position] for position in order}
        return torch.tensor([row for row in rows if subjects[row] in chosen])


def parse(name: str) -> ForgetSet:
    """The forget set that a name stands for; raises `ValueError` for one that stands for none."""
    kind, *numbers = name.split(":")
    try:
        match kind, numbers:
            case "random", [share]:
                return ForgetSet(name, "random", _share(share))
            case "subject", []:
                return ForgetSet(name, "subject")
            case "subject", [count]:
                return ForgetSet(name, "subject", count=_count(count))
            case "memorised", []:
                return ForgetSet(name, "memorised", _DEFAULT_MEMORISED)
            case "memorised", [share]:
                return ForgetSet(name, "memorised", _share(share))
            case "sequence", [count]:
                return ForgetSet(name, "sequence", _DEFAULT_SEQUENCE, _count(count))
            case "sequence", [count, share]:
                return ForgetSet(name, "sequence", _share(share), _count(count))
    except ValueError as error:
        raise ValueError(f"forget set {name!r}: {error}; the forms are: {FORMS}") from error
    raise ValueError(f"forget set {name!r} is unknown; the forms are: {FORMS}")


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise ValueError(f"a share lies between 0 and 1, not at {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(f"a count is 1 or more, not {text}")
    return value


def _cells(taught: Tensor, rows: Tensor) -> Tensor:
    cells = torch.zeros_like(taught)
    cells[rows] = taught[rows]
    return cells
