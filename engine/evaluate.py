"""Each task's metric over one split."""

import torch
from torch import nn

from engine.workload import InstanceSet, Workload

_BATCH = 128


@torch.no_grad()
def evaluate(workload: Workload, model: nn.Module, instances: InstanceSet) -> dict[str, float]:
    """Each task's metric over its supervised instances, in the metric's own units.

    NaN for a task that no instance supervises. The model is left in eval mode.
    """
    model.eval()
    device = next(model.parameters()).device
    metrics = {name: task.new_metric() for name, task in workload.tasks.items()}
    counts = dict.fromkeys(metrics, 0)
    for indices in torch.arange(len(instances)).split(_BATCH):
        batch = instances.batch(indices)
        outputs = model(batch.inputs.to(device))
        for column, (name, metric) in enumerate(metrics.items()):
            rows = instances.supervision[indices, column].nonzero().squeeze(1)
            if len(rows):
                metric.update(outputs[name].cpu()[rows], batch.targets[name][rows])
                counts[name] += len(rows)
    return {
        name: float(metric.compute()) if counts[name] else float("nan")
        for name, metric in metrics.items()
    }
