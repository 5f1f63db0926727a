"""Distillation: a job's network against another one that only answers."""

import torch
from torch import Tensor, nn

from engine import evaluation
from engine.methods.baseline import Job
from engine.methods.distance import cell_distances


def distillation(job: Job, teacher: nn.Module, indices: Tensor, cells: Tensor) -> Tensor:
    """The batch's distance from the teacher on `cells` (bool [N, T]): a scalar, differentiable.

    The sum over tasks of the mean over the batch's cells.
    """
    problem = job.problem
    outputs, batch = evaluation.forward(problem.model, problem.train, indices, problem.device)
    with torch.no_grad():
        answers = teacher(batch.inputs)
    distances = cell_distances(problem.workload, outputs, answers, cells[indices])
    return job.mean(distances, indices, cells)
