"""NegGrad+: ascend the forget loss and descend the retain loss at once.

The strong form of the negative gradient in "Towards Unbounded Machine Unlearning" (Kurmanji et al.,
NeurIPS 2023, arXiv 2302.09880), there `beta L_retain - (1 - beta) L_forget`.
"""

from pydantic import Field

from engine.methods.baseline import BaselineSettings, Job
from engine.problem import Outcome, Problem


class NegGradPlusSettings(BaselineSettings):
    """The common ones and the balance."""

    beta: float = Field(0.75, gt=0, lt=1)
    """The retain loss's weight; the forget loss has the rest."""


def unlearn(problem: Problem) -> Outcome:
    """Descend `beta L_retain - (1 - beta) L_forget`."""
    settings = NegGradPlusSettings.parse(problem.settings)
    job = Job(problem, settings)
    beta = settings.beta
    return job.descend(lambda _: beta * job.retain_gradient() - (1 - beta) * job.forget_gradient())
