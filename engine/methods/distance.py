"""How far a network's outputs are from a teacher's, for any kind of task."""

import torch
from torch import Tensor
from torch.nn import functional

from engine.errors import Diverged
from engine.workload import Outputs, Task, Workload

_SOFTMAX = frozenset({"classification", "segmentation"})
"""Kinds whose outputs are logits over dimension 1."""
_SIGMOID = frozenset({"multilabel", "binary_segmentation"})
"""Kinds whose outputs are independent logits."""


def output_distance(task: Task, output: Tensor, teacher: Tensor) -> Tensor:
    """One value an instance, [B], averaged over pixels or elements; 0 where both agree.

    `KL(teacher || output)` where the outputs are logits. Of any other kind the squared difference,
    which is that divergence for two Gaussians of one width: what distilling a regression means.
    """
    if task.kind in _SOFTMAX:
        log_teacher, log_student = teacher.log_softmax(1), output.log_softmax(1)
        each = (log_teacher.exp() * (log_teacher - log_student)).sum(1)
    elif task.kind in _SIGMOID:
        soft = teacher.sigmoid()
        own = functional.binary_cross_entropy_with_logits(teacher, soft, reduction="none")
        each = functional.binary_cross_entropy_with_logits(output, soft, reduction="none") - own
    else:
        each = (output - teacher) ** 2
    return each.reshape(len(each), -1).mean(1)


def cell_distances(workload: Workload, outputs: Outputs, teacher: Outputs, cells: Tensor) -> Tensor:
    """The distances of a batch's cells: [B, T], zero outside `cells` (bool [B, T]); differentiable.

    No target enters, so unlabelled pixels count too. Raises `Diverged` if one is not finite.
    """
    columns = []
    for column, (name, task) in enumerate(workload.tasks.items()):
        device = outputs[name].device
        rows = cells[:, column].nonzero().squeeze(1).to(device)
        full = torch.zeros(len(cells), device=device)
        if len(rows):
            found = output_distance(task, outputs[name][rows], teacher[name][rows])
            if not bool(found.isfinite().all()):
                raise Diverged(f"the outputs of task {name!r} became NaN or infinite")
            full = full.index_put((rows,), found.to(full.dtype))
        columns.append(full)
    return torch.stack(columns, dim=1)
