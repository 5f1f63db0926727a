"""PCGrad as an unlearner: forgetting is one more task, and conflicts between tasks are cut out.

"Gradient Surgery for Multi-Task Learning" (Yu et al., NeurIPS 2020, arXiv 2001.06782), with the
negative forget loss as an objective beside each task's retain loss. Each objective's gradient
loses, in random order, its component against any other that it conflicts with; the sum is
descended.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from engine.methods.baseline import BaselineSettings, Job
from engine.problem import Outcome, Problem


class PcgradSettings(BaselineSettings):
    """The common ones and the forget objective's weight."""

    forget_weight: float = Field(0.3, gt=0)
    """Before the surgery; each task's retain loss has weight 1."""


def unlearn(problem: Problem) -> Outcome:
    """Descend the sum of the operated gradients of `-L_forget` and of each task's `L_retain`."""
    settings = PcgradSettings.parse(problem.settings)
    job = Job(problem, settings)

    def gradient(_: int) -> Tensor:
        gradients = [-settings.forget_weight * job.forget_gradient(), *_task_gradients(job)]
        orders = [
            torch.randperm(len(gradients), generator=problem.generator).tolist() for _ in gradients
        ]
        return surgery(gradients, orders)

    return job.descend(gradient)


def surgery(gradients: Sequence[Tensor], orders: Sequence[Sequence[int]]) -> Tensor:
    """PCGrad's algorithm 1: the sum [D] of the gradients, each without its conflicts.

    `orders[i]` says in which order the i-th meets all of them; a meeting with itself is skipped.
    """
    total = torch.zeros_like(gradients[0])
    for position, order in enumerate(orders):
        operated = gradients[position]
        for other in order:
            against = operated @ gradients[other]
            if other != position and bool(against < 0):
                length = gradients[other] @ gradients[other]
                operated = operated - against / length * gradients[other]
        total = total + operated
    return total


def _task_gradients(job: Job) -> list[Tensor]:
    """Each task's retain gradient [D] on the next retain batch, for the tasks that it teaches."""
    indices, retain = job.draw_retain(), job.problem.retain
    cells = retain[indices]
    losses = job.losses(indices, retain)
    columns = [column for column in range(cells.shape[1]) if bool(cells[:, column].any())]
    return [
        job.gradient(losses[:, column].sum() / cells[:, column].sum(), len(indices), keep=True)
        for column in columns
    ]
