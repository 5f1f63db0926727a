"""SCRUB: a student that disobeys the parent on forget data and obeys it on retain data.

"Towards Unbounded Machine Unlearning" (Kurmanji et al., NeurIPS 2023, arXiv 2302.09880). *Max
steps* ascend the distance from the parent on the forget cells; *min steps* descend
`alpha distance(parent, student) + gamma L_retain` on the retain cells; they alternate at first,
and min steps alone end the job. Here they alternate by the step, not by the epoch. The distance is
the paper's KL divergence for labels and its Gaussian counterpart for other tasks (`distance`).
"""

import copy

from pydantic import Field
from torch import Tensor

from engine.methods.baseline import BaselineSettings, Job
from engine.methods.teacher import distillation
from engine.problem import Outcome, Problem


class ScrubSettings(BaselineSettings):
    """The common ones and the paper's weights."""

    alpha: float = Field(0.5, ge=0)
    """Weight of the distance from the parent on retain data."""
    gamma: float = Field(1.0, ge=0)
    """Weight of the retain loss."""
    max_share: float = Field(0.5, gt=0, le=1)
    """Share of the job in which every other step is a max step."""


def unlearn(problem: Problem) -> Outcome:
    """Alternate max steps on the forget cells with min steps on the retain cells."""
    settings = ScrubSettings.parse(problem.settings)
    job = Job(problem, settings)
    parent = copy.deepcopy(problem.model)

    def gradient(step: int) -> Tensor:
        # The min step comes first: at the parent itself the distance has no gradient to ascend.
        if step % 2 == 1 and step < settings.max_share * job.steps:
            indices = job.draw_forget()
            away = distillation(job, parent, indices, problem.forget)
            return -job.gradient(away, len(indices))
        indices = job.draw_retain()
        near = distillation(job, parent, indices, problem.retain)
        loss = job.mean(job.losses(indices, problem.retain), indices, problem.retain)
        return job.gradient(settings.alpha * near + settings.gamma * loss, len(indices))

    return job.descend(gradient)
