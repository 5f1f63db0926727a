"""What a network does on instances: losses of cells, and each task's metric over a set of cells.

A *cell* is a pair of instance and task; sets of cells are bool matrices [N, T] in the order of the
instances and of the workload's tasks. Cells outside the set are never computed, so a missing label
can have any value.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from engine.contract import owners_code
from engine.errors import Diverged, WorkloadError
from engine.workload import Batch, InstanceSet, Outputs, Workload

_MOST_INSTANCES = 256
_MOST_ELEMENTS = 2**21
"""Of the inputs of a batch: of images a batch has fewer, for what a network makes of them, layer by
layer, is many times as large."""


def forward(
    model: nn.Module, instances: InstanceSet, indices: Tensor, device: torch.device
) -> tuple[Outputs, Batch]:
    """The outputs for the instances at `indices` (int64 [B]), and their batch on `device`.

    Raises `WorkloadError` for what the owner's code raises, or for outputs that are no mapping.
    """
    with owners_code("the batch of the workload's instances"):
        batch = instances.batch(indices)
        targets = {name: target.to(device) for name, target in batch.targets.items()}
        moved = Batch(batch.inputs.to(device), targets)
    with owners_code("the network"):
        outputs: Outputs = model(moved.inputs)
    if not isinstance(outputs, Mapping):
        raise WorkloadError(
            f"the network gave a {type(outputs).__name__}; it must give a mapping from each task's"
            " name to its output"
        )
    return outputs, moved


def cell_losses(workload: Workload, outputs: Outputs, batch: Batch, cells: Tensor) -> Tensor:
    """The losses of a batch's cells: [B, T], zero outside `cells` (bool [B, T]); differentiable.

    Raises `WorkloadError` if an output or a target is missing or a task's loss is not one value an
    instance that can be differentiated, `Diverged` if a value is not finite.
    """
    columns = []
    for column, (name, task) in enumerate(workload.tasks.items()):
        rows = cells[:, column].nonzero().squeeze(1).to(batch.inputs.device)
        full = torch.zeros(len(cells), device=batch.inputs.device)
        if len(rows):
            output, target = _of_task(name, outputs, batch, len(cells))
            with owners_code(f"the loss of task {name!r}"):
                loss = task.loss(output[rows], target[rows])
            if not isinstance(loss, Tensor):
                raise WorkloadError(
                    f"the loss of task {name!r} is a {type(loss).__name__}, which is no tensor"
                )
            if loss.shape != rows.shape:
                raise WorkloadError(
                    f"the loss of task {name!r} has shape {tuple(loss.shape)} for {len(rows)}"
                    " instances; it must have one value an instance"
                )
            if output.requires_grad and not loss.requires_grad:
                raise WorkloadError(
                    f"the loss of task {name!r} cannot be differentiated: it is cut off from the"
                    " network's output"
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


def losses(
    workload: Workload,
    model: nn.Module,
    instances: InstanceSet,
    cells: Tensor,
    device: torch.device,
) -> Tensor:
    """The loss of every cell, [N, T] on the CPU, NaN outside `cells`; the model is left in eval."""
    return losses_and_metrics(workload, model, instances, cells, [], device)[0]


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
    nothing = torch.zeros_like(cell_sets[0])
    return losses_and_metrics(workload, model, instances, nothing, cell_sets, device)[1]


@torch.no_grad()
def losses_and_metrics(
    workload: Workload,
    model: nn.Module,
    instances: InstanceSet,
    cells: Tensor,
    cell_sets: Sequence[Tensor],
    device: torch.device,
) -> tuple[Tensor, list[list[float | None]]]:
    """The `losses` of `cells` and the `metrics` over `cell_sets`, in one pass over both."""
    found = torch.full(cells.shape, math.nan)
    meters = [_Meter(workload, chosen) for chosen in cell_sets]
    everything = torch.stack([cells, *cell_sets]).any(0)
    for indices, outputs, batch in passes(model, instances, everything, device):
        chosen = cells[indices]
        if bool(chosen.any()):
            now = cell_losses(workload, outputs, batch, chosen).cpu()
            found[indices] = torch.where(chosen, now, math.nan)
        for meter in meters:
            meter.update(indices, outputs, batch)
    return found, [meter.compute() for meter in meters]


class _Meter:
    """Each task's metric over one set of cells."""

    def __init__(self, workload: Workload, cells: Tensor) -> None:
        self._cells = cells
        with owners_code("a task's new_metric"):
            self._metrics = {name: task.new_metric() for name, task in workload.tasks.items()}
        for metric in self._metrics.values():
            if hasattr(metric, "distributed_available_fn"):  # an owner's from torchmetrics
                # Each process of a job measures by itself; torchmetrics would wait for the others.
                metric.distributed_available_fn = lambda: False

    def update(self, indices: Tensor, outputs: Outputs, batch: Batch) -> None:
        chosen = self._cells[indices]
        for column, (name, metric) in enumerate(self._metrics.items()):
            rows = chosen[:, column].nonzero().squeeze(1)
            if len(rows):  # on the CPU, where the metrics are
                output, target = _of_task(name, outputs, batch, len(indices))
                with owners_code(f"the metric of task {name!r}"):
                    metric.update(output.cpu()[rows], target.cpu()[rows])

    def compute(self) -> list[float | None]:
        taught = self._cells.any(0)
        values = []
        for column, (name, metric) in enumerate(self._metrics.items()):
            with owners_code(f"the metric of task {name!r}"):
                values.append(float(metric.compute()) if taught[column] else math.nan)
        return [value if math.isfinite(value) else None for value in values]


def passes(
    model: nn.Module, instances: InstanceSet, cells: Tensor, device: torch.device
) -> Iterator[tuple[Tensor, Outputs, Batch]]:
    """Every instance with one of `cells` (bool [N, T]), batch by batch: indices, outputs, batch.

    Leaves the model in eval mode.
    """
    model.eval()
    rows = cells.any(1).nonzero().squeeze(1)
    if not len(rows):
        return
    for indices in rows.split(_batch_size(instances, rows[:1])):
        outputs, batch = forward(model, instances, indices, device)
        yield indices, outputs, batch


def _batch_size(instances: InstanceSet, one: Tensor) -> int:
    """How many instances to take at a time, by the size of `one` of them, int64 [1]."""
    with owners_code("the batch of the workload's instances"):
        elements = instances.batch(one).inputs.numel()
    return max(1, min(_MOST_INSTANCES, _MOST_ELEMENTS // max(elements, 1)))


def _of_task(name: str, outputs: Outputs, batch: Batch, instances: int) -> tuple[Tensor, Tensor]:
    """A task's output and target, both [B, ...]."""
    for what, found in (("output", outputs), ("target", batch.targets)):
        if name not in found:
            raise WorkloadError(f"there is no {what} for task {name!r}, only for: {_keys(found)}")
        shape = tuple(found[name].shape)
        if shape[:1] != (instances,):
            raise WorkloadError(
                f"the {what} of task {name!r} has shape {shape} for {instances} instances; its"
                " first dimension must count them"
            )
    return outputs[name], batch.targets[name]


def _keys(found: Mapping[str, Tensor]) -> str:
    return ", ".join(map(repr, found)) or "nothing"
