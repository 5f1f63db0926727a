"""Everything that an audit measures on one network, in two passes over the data."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from engine import evaluation
from engine.spec import Thresholds
from engine.workload import InstanceSet, Workload

Scores = list[float | None]
"""One a task; None where there is no labelled instance."""

_EARLIER = 200
"""Cells of earlier requests looked at again, a task."""


@dataclass(frozen=True)
class ForgottenCells:
    """What one request asked to forget, among N training instances and T tasks."""

    request_id: str
    cells: Tensor
    """bool [N, T]."""
    instances: Tensor
    """bool [N]: the instances that it names."""
    tasks: frozenset[str]
    """The tasks that it names; the others had to be left alone."""


@dataclass(frozen=True)
class Evidence:
    """What an audit looks at."""

    workload: Workload
    train: InstanceSet
    retain: Tensor
    """bool [N, T]: the cells that still teach."""
    judging: InstanceSet
    """Held-out instances that no method has looked at."""
    requests: Sequence[ForgottenCells]
    thresholds: Thresholds
    device: torch.device
    earlier: Tensor | None = None
    """bool [N, T]: the cells that requests before have had forgotten; None if there are none."""
    seed: int = 0
    """Of networks that an audit trains itself."""
    _subjects: dict[int, frozenset[str]] = field(default_factory=dict, init=False, repr=False)
    """Of each task, once asked for."""

    def asked(self, request: ForgottenCells) -> Tensor:
        """Bool [N, T]: the request's cells, and those that its instances still teach."""
        return request.cells | (self.retain & request.instances[:, None])

    def teaches(self, column: int) -> bool:
        """Whether anything still teaches the task; where nothing does, its head is a fresh one."""
        return bool(self.retain[:, column].any())

    def teaching_subjects(self, column: int) -> frozenset[str]:
        """Whose instances still teach the task."""
        if column not in self._subjects:
            subjects = self.train.subjects
            rows = self.retain[:, column].nonzero().squeeze(1).tolist()
            self._subjects[column] = frozenset(s for r in rows if (s := subjects[r]) is not None)
        return self._subjects[column]

    def earlier_sample(self) -> Tensor:
        """Bool [N, T]: of each task's earlier cells at most 200, drawn by the hash of their ids."""
        chosen = torch.zeros_like(self.retain)
        if self.earlier is None:
            return chosen
        ids = self.train.ids
        for column in range(chosen.shape[1]):
            rows = self.earlier[:, column].nonzero().squeeze(1).tolist()
            rows.sort(key=lambda row: hashlib.sha256(ids[row].encode()).digest())
            chosen[rows[:_EARLIER], column] = True
        return chosen


@dataclass(frozen=True)
class Measured:
    """One network on the evidence."""

    model: nn.Module
    forget: list[Scores]
    """One a request, on its instances: of a kept task, on those it still teaches."""
    retain: Scores
    validation: Scores
    forget_losses: Tensor
    """[N, T], NaN outside the forgotten cells and the sample of those forgotten earlier."""
    judging_losses: Tensor
    """[M, T], NaN where there is no label."""


def measure(evidence: Evidence, model: nn.Module) -> Measured:
    """Metrics and losses of `model`, which is left in eval mode."""
    workload, device = evidence.workload, evidence.device
    on_requests = [evidence.asked(request) for request in evidence.requests]
    retain, *forget = evaluation.metrics(
        workload, model, evidence.train, [evidence.retain, *on_requests], device
    )
    held_out = evidence.judging.supervision
    (validation,) = evaluation.metrics(workload, model, evidence.judging, [held_out], device)
    forgotten = torch.stack([request.cells for request in evidence.requests]).any(0)
    forgotten |= evidence.earlier_sample()
    return Measured(
        model=model,
        forget=forget,
        retain=retain,
        validation=validation,
        forget_losses=evaluation.losses(workload, model, evidence.train, forgotten, device),
        judging_losses=evaluation.losses(workload, model, evidence.judging, held_out, device),
    )
