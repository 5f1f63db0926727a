"""The figures that the literature reports beside a dense task's own metric."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from engine.evaluation import forward
from engine.tasks.depth import Depth
from engine.tasks.normals import Normals
from engine.tasks.within import ShareWithinAngle, ShareWithinRatio
from engine.workload import InstanceSet, Task, Workload

_BATCH = 32


def further_metrics(task: Task) -> dict[str, Metric]:
    """Empty accumulators by name: delta < 1.25 of depth, A11.25 and A30 of normals; all shares."""
    if isinstance(task, Depth):
        return {"delta_1.25": ShareWithinRatio(task.scale)}
    if isinstance(task, Normals):
        return {"a11.25": ShareWithinAngle(11.25), "a30": ShareWithinAngle(30.0)}
    return {}


@torch.no_grad()
def further_scores(
    workload: Workload,
    model: nn.Module,
    instances: InstanceSet,
    cells: Tensor,
    device: torch.device,
) -> Mapping[str, Mapping[str, float]]:
    """Each task's further metrics over its cells (bool [N, T]), NaN where a task has none.

    Leaves the model in eval mode.
    """
    model.eval()
    metrics = {name: further_metrics(task) for name, task in workload.tasks.items()}
    for indices in cells.any(1).nonzero().squeeze(1).split(_BATCH):
        outputs, batch = forward(model, instances, indices, device)
        for column, (name, accumulators) in enumerate(metrics.items()):
            rows = cells[indices][:, column].nonzero().squeeze(1)
            for metric in accumulators.values():
                metric.update(outputs[name].cpu()[rows], batch.targets[name].cpu()[rows])
    taught = dict(zip(metrics, cells.any(0).tolist(), strict=True))
    return {
        name: {
            key: float(metric.compute()) if taught[name] else math.nan
            for key, metric in accumulators.items()
        }
        for name, accumulators in metrics.items()
        if accumulators
    }
