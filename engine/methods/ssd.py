"""Selective Synaptic Dampening: shrink the weights that matter to the forget set beyond the rest.

"Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening" (Foster et al.,
AAAI 2024, arXiv 2308.07707). With F the diagonal of the Fisher information, the mean squared
gradient over mini-batches, F_f of the forget cells and F_D of all cells that taught: where
`F_f > alpha F_D`, the weight is multiplied by `min(1, lambda F_D / F_f)`. One pass, no steps, so
nothing is chosen by held-out data.
"""

import torch
from pydantic import Field
from torch import Tensor

from engine.gradients import assign, flatten
from engine.methods.baseline import BaselineSettings, Job
from engine.methods.method_settings import MethodSettings
from engine.problem import Outcome, Problem


class SsdSettings(MethodSettings):
    """The paper's two constants, and how much is read."""

    alpha: float = Field(10.0, gt=0)
    """How many times more a weight must matter to the forget set to be dampened."""
    dampening: float = Field(1.0, gt=0)
    """The paper's lambda."""
    batch: int = Field(16, ge=1)
    """Instances a gradient."""
    max_batches: int = Field(64, ge=1)
    """Gradients for each of the two estimates, at most."""


def unlearn(problem: Problem) -> Outcome:
    """Multiply each weight by its dampening factor."""
    settings = SsdSettings.parse(problem.settings)
    job = Job(problem, BaselineSettings())
    everything = problem.retain | problem.forget
    forget = importance(job, problem.forget, settings)
    factors = dampening(
        forget, importance(job, everything, settings), settings.alpha, settings.dampening
    )
    assign(job.weights, flatten(job.weights) * factors)
    problem.progress(1, 1)
    return job.finish(settings, {"dampened_share": float((factors < 1).float().mean())})


def importance(job: Job, cells: Tensor, settings: SsdSettings) -> Tensor:
    """The mean squared gradient [D] of the loss on `cells` (bool [N, T]), over mini-batches."""
    rows = cells.any(1).nonzero().squeeze(1)
    order = torch.randperm(len(rows), generator=job.problem.generator)
    batches = rows[order].split(settings.batch)[: settings.max_batches]
    total = torch.zeros(sum(weight.numel() for weight in job.weights), device=job.problem.device)
    for indices in batches:
        total += job.loss_gradient(indices, cells).square()
    return total / len(batches)


def dampening(forget: Tensor, everything: Tensor, alpha: float, strength: float) -> Tensor:
    """The factor of each weight, [D], from both importances; 1 for those left alone."""
    shrunk = (strength * everything / forget.clamp(min=1e-30)).clamp(max=1)
    return torch.where(forget > alpha * everything, shrunk, 1.0)
