"""What every unlearning method is given and gives back: the one signature of `engine.methods`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from engine.group import ALONE, Group
from engine.saved_state import SavedState
from engine.spec import Precision
from engine.workload import InstanceSet, Reporter, Workload


@dataclass(frozen=True)
class Problem:
    """A model to change and the cells to remove from it; N training instances, T tasks.

    The three matrices are bool [N, T] and disjoint: `retain` still teaches, `forget` is asked to go
    now, `earlier` was forgotten by requests already honoured and must stay forgotten. A cell in
    none of them never taught this model.
    """

    workload: Workload
    model: nn.Module
    """The parent's weights are loaded; a method changes them in place."""
    train: InstanceSet
    retain: Tensor
    forget: Tensor
    earlier: Tensor
    calibration: InstanceSet
    """The half of the validation split that a method may look at; the audit judges by the other."""
    settings: Mapping[str, JsonValue]
    """What the caller overrides; a method refuses a name that it does not know."""
    generator: torch.Generator
    """The only source of randomness, on the CPU."""
    seed: int
    device: torch.device
    progress: Reporter
    ancestor: Path | None = None
    """Weights from before the model saw any cell of `forget` or `earlier`, where there are such."""
    group: Group = ALONE
    """The processes of this job. A method that does not share its work out among them does all of
    it in each, to the same result."""
    saved_state: SavedState = field(default_factory=SavedState)
    """Where a method that can go on from the middle keeps what it needs for that."""
    precision: Precision = "float32"
    """Of the forward passes whose gradients are taken; weights and losses are always float32."""

    def autocast(self) -> AbstractContextManager[None]:
        """Runs the network in the job's precision while the block runs."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


@dataclass(frozen=True)
class Outcome:
    """What a method did to `Problem.model`."""

    settings: dict[str, JsonValue]
    """Every constant in force, given or derived from the model's own statistics."""
    gradient_evaluations: int
    """Instances whose gradient was taken, each counted once a pass."""
    notes: tuple[str, ...] = ()


Method = Callable[[Problem], Outcome]
"""Raises `EngineError` with one clear sentence when it cannot go on."""
