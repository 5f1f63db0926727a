"""What a network does on instances: losses of cells, and each task's metric over a set of cells.

A *cell* is a pair of instance and task; sets of cells are bool matrices [N, T] in the order of the
instances and of the workload's tasks. Cells outside the set are never computed, so a missing label
can have any value.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from engine.errors import Diverged, WorkloadError
from engine.workload import Batch, InstanceSet, Outputs, Workload

_BATCH = 256


def forward(
    model: nn.Module, instances: InstanceSet, indices: Tensor, device: torch.device
) -> tuple[Outputs, Batch]:
    """The outputs for the instances at `indices` (int64 [B]), and their batch on `device`."""
    batch = instances.batch(indices)
    moved = Batch(
        batch.inputs.to(device), {name: target.to(device) for name, target in batch.targets.items()}
    )
    outputs: Outputs = model(moved.inputs)
    return outputs, moved


def cell_losses(workload: Workload, outputs: Outputs, batch: Batch, cells: Tensor) -> Tensor:
    """The losses of a batch's cells: [B, T], zero outside `cells` (bool [B, T]); differentiable.

    Raises `WorkloadError` if a task's loss is not one value an instance, `Diverged` if a value is
    not finite.
    """
    columns = []
    for column, (name, task) in enumerate(workload.tasks.items()):
        rows = cells[:, column].nonzero().squeeze(1).to(batch.inputs.device)
        full = torch.zeros(len(cells), device=batch.inputs.device)
        if len(rows):
            loss = task.loss(outputs[name][rows], batch.targets[name][rows])
            if loss.shape != rows.shape:
                raise WorkloadError(
                    f"the loss of task {name!r} has shape {tuple(loss.shape)} for {len(rows)}"
                    " instances; it must have one value an instance"
                )
            if not bool(loss.isfinite().all()):
                raise Diverged(f"a loss of task {name!r} became NaN or infinite")
            full = full.index_put((rows,), loss.to(full.dtype))
        columns.append(full)
    return torch.stack(columns, dim=1)


def task_mean(losses: Tensor, cells: Tensor) -> Tensor:
    """The sum over tasks of the mean loss over a task's cells; `losses` as of `cell_losses`."""
    counts = cells.to(losses).sum(0).clamp(min=1)
    return (losses.sum(0) / counts).sum()


@torch.no_grad()
def losses(
    workload: Workload,
    model: nn.Module,
    instances: InstanceSet,
    cells: Tensor,
    device: torch.device,
) -> Tensor:
    """The loss of every cell, [N, T] on the CPU, NaN outside `cells`; the model is left in eval."""
    result = torch.full(cells.shape, math.nan)
    for indices, outputs, batch in _passes(model, instances, cells, device):
        chosen = cells[indices]
        found = cell_losses(workload, outputs, batch, chosen).cpu()
        result[indices] = torch.where(chosen, found, math.nan)
    return result


@torch.no_grad()
def metrics(
    workload: Workload,
    model: nn.Module,
    instances: InstanceSet,
    cell_sets: Sequence[Tensor],
    device: torch.device,
) -> list[list[float | None]]:
    """Each task's metric over each set of cells, [set][task], in one pass over their instances.

    None where a set has no cell of the task, or the metric is not defined on so few. Leaves the
    model in eval mode.
    """
    names = list(workload.tasks)
    accumulators = [[task.new_metric() for task in workload.tasks.values()] for _ in cell_sets]
    union = torch.stack(list(cell_sets)).any(0)
    for indices, outputs, batch in _passes(model, instances, union, device):
        for cells, row in zip(cell_sets, accumulators, strict=True):
            chosen = cells[indices]
            for column, name in enumerate(names):
                rows = chosen[:, column].nonzero().squeeze(1)
                if len(rows):  # on the CPU, where the accumulators are
                    row[column].update(outputs[name].cpu()[rows], batch.targets[name].cpu()[rows])
    found: list[list[float | None]] = []
    for cells, row in zip(cell_sets, accumulators, strict=True):
        taught = cells.any(0)
        values = [
            float(row[column].compute()) if taught[column] else math.nan
            for column in range(len(names))
        ]
        found.append([value if math.isfinite(value) else None for value in values])
    return found


def _passes(
    model: nn.Module, instances: InstanceSet, cells: Tensor, device: torch.device
) -> Iterator[tuple[Tensor, Outputs, Batch]]:
    """Every instance with a cell, batch by batch."""
    model.eval()
    for indices in cells.any(1).nonzero().squeeze(1).split(_BATCH):
        outputs, batch = forward(model, instances, indices, device)
        yield indices, outputs, batch
