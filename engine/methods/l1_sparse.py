"""L1-sparse unlearning: fine-tune while most weights are pulled to zero.

"Model Sparsity Can Simplify Machine Unlearning" (Jia et al., NeurIPS 2023, arXiv 2304.04934):
`L_retain + gamma_t |w|_1`, with gamma_t falling in a line to zero, the schedule that the paper
found best. A penalty by the same number for all weights, whatever their tasks.
"""

from pydantic import Field
from torch import Tensor

from engine.gradients import flatten
from engine.methods.baseline import BaselineSettings, Job
from engine.problem import Outcome, Problem


class L1SparseSettings(BaselineSettings):
    """The common ones and the penalty."""

    gamma: float = Field(5e-4, ge=0)
    """Weight of the L1 norm at the first step."""


def unlearn(problem: Problem) -> Outcome:
    """Descend `L_retain + gamma (1 - step / steps) |w|_1`."""
    settings = L1SparseSettings.parse(problem.settings)
    job = Job(problem, settings)

    def gradient(step: int) -> Tensor:
        penalty = settings.gamma * (1 - step / job.steps)
        return job.retain_gradient() + penalty * flatten(job.weights).sign()

    return job.descend(gradient)
