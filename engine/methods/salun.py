"""SalUn: random labels, written only where the forget loss is steep.

"SalUn" (Fan et al., ICLR 2024, arXiv 2310.12508): the weights that may change are those in which
the forget loss's gradient at the parent is largest, `|grad L_forget| >= gamma`, gamma their median;
there the loss of wrong targets is descended, plus the retain loss.
"""

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from engine.methods.baseline import Job, Optimizer
from engine.methods.random_label import RandomLabelSettings
from engine.methods.random_targets import RandomTargets
from engine.problem import Outcome, Problem


class SalunSettings(RandomLabelSettings):
    """Those of random labels and the mask's."""

    mask_share: float = Field(0.5, gt=0, le=1)
    """Share of the weights that may change."""


@dataclass(frozen=True)
class Masked:
    """Moves the weights of a mask alone."""

    inner: Optimizer
    mask: Tensor
    """[D], 1 or 0."""

    def step(self, gradient: Tensor, rate: float) -> None:
        """Descend along the masked gradient [D]."""
        self.inner.step(self.mask * gradient, rate)


def unlearn(problem: Problem) -> Outcome:
    """Descend `L_forget(wrong targets) + repair L_retain` in the salient weights."""
    settings = SalunSettings.parse(problem.settings)
    job = Job(problem, settings)
    mask = salient_weights(forget_gradient(job), settings.mask_share)
    wrong = RandomTargets(problem)
    return job.descend(lambda _: wrong.gradient(job), Masked(job.optimizer(job.weights), mask))


def salient_weights(gradient: Tensor, share: float) -> Tensor:
    """1 for the `share` of the weights with the steepest gradient [D], ties included; else 0."""
    steepness = gradient.abs()
    wanted = max(1, round(share * len(steepness)))
    return (steepness >= steepness.kthvalue(len(steepness) - wanted + 1).values).to(gradient)


def forget_gradient(job: Job) -> Tensor:
    """The gradient [D] of the loss of the whole forget set, batch by batch."""
    forget = job.problem.forget
    counts = forget.sum(0).clamp(min=1).to(job.problem.device)
    total = torch.zeros(sum(weight.numel() for weight in job.weights), device=job.problem.device)
    for indices in job.forgetting.split(job.settings.forget_batch):
        loss = (job.losses(indices, forget).sum(0) / counts).sum()
        total += job.gradient(loss, len(indices))
    return total
