"""What the literature reports of a task beside its own metric: for people, decided by nothing."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from engine.contract import owners_code
from engine.evaluation import passes
from engine.workload import InstanceSet, Metric, Task, Workload

Scores = dict[str, dict[str, float | None]]
"""By task, then by the metric's name; None where it is not defined."""


@runtime_checkable
class HasExtraMetrics(Protocol):
    """A task that has more to say than its one metric."""

    def extra_metrics(self) -> Mapping[str, Metric]:
        """Empty accumulators by name."""
        ...


def extra_metrics(task: Task) -> dict[str, Metric]:
    """Empty accumulators by name: delta < 1.25 of depth, A11.25 and A30 of normals; else none."""
    if not isinstance(task, HasExtraMetrics):
        return {}
    with owners_code(f"the extra metrics of task {task.name!r}"):
        return dict(task.extra_metrics())


@torch.no_grad()
def extra_scores(
    workload: Workload,
    model: nn.Module,
    instances: InstanceSet,
    cell_sets: Sequence[Tensor],
    device: torch.device,
) -> list[Scores]:
    """The further metrics of every task that has some over each set of cells (bool [N, T]).

    One pass over the instances; none at all where no task has any. Leaves the model in eval mode.
    """
    accumulators = [
        {name: found for name, task in workload.tasks.items() if (found := extra_metrics(task))}
        for _ in cell_sets
    ]
    if not any(accumulators):
        return [{} for _ in cell_sets]
    columns = {name: column for column, name in enumerate(workload.tasks)}
    for indices, outputs, batch in passes(
        model, instances, torch.stack(list(cell_sets)).any(0), device
    ):
        for cells, tasks in zip(cell_sets, accumulators, strict=True):
            for name, metrics in tasks.items():
                rows = cells[indices, columns[name]].nonzero().squeeze(1)
                if not len(rows):
                    continue
                output, target = outputs[name].cpu()[rows], batch.targets[name].cpu()[rows]
                with owners_code(f"the extra metrics of task {name!r}"):
                    for metric in metrics.values():
                        metric.update(output, target)
    result = []
    for cells, tasks in zip(cell_sets, accumulators, strict=True):
        scores: Scores = {}
        for name, metrics in tasks.items():
            taught = bool(cells[:, columns[name]].any())
            with owners_code(f"the extra metrics of task {name!r}"):
                values = {k: float(m.compute()) if taught else math.nan for k, m in metrics.items()}
            scores[name] = {k: v if math.isfinite(v) else None for k, v in values.items()}
        result.append(scores)
    return result
