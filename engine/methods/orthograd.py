"""OrthoGrad: ascend the forget loss at right angles to every retain gradient.

"Go Beyond Your Means: Unlearning with Per-Sample Gradient Orthogonalization" (Shamsian et al.,
2025, arXiv 2503.02312). The forget gradient g_f loses its components in the span of the gradients
of single retain instances, and the step mixes what is left with the mean retain gradient:
`alpha g_r - (1 - alpha) g_f_orthogonal`. Rows of several instances each keep the memory at a few
copies of the weights; as many `rows` as a retain batch has instances is the paper's own case.
"""

import torch
from pydantic import Field
from torch import Tensor

from engine.methods.baseline import BaselineSettings, Job
from engine.problem import Outcome, Problem
from engine.projection import complement


class OrthoGradSettings(BaselineSettings):
    """The common ones, the balance and the number of rows."""

    alpha: float = Field(0.75, ge=0, lt=1)
    """The retain gradient's weight; the orthogonal forget gradient has the rest."""
    rows: int = Field(16, ge=1)
    """Retain gradients a step, each of an equal part of the retain batch."""


def unlearn(problem: Problem) -> Outcome:
    """Descend `alpha g_r - (1 - alpha) g_f_orthogonal`."""
    settings = OrthoGradSettings.parse(problem.settings)
    job = Job(problem, settings)

    def gradient(_: int) -> Tensor:
        chunks = job.draw_retain().chunk(settings.rows)
        rows = torch.stack([job.loss_gradient(chunk, problem.retain) for chunk in chunks])
        away = complement(job.forget_gradient(), rows)
        return settings.alpha * rows.mean(0) - (1 - settings.alpha) * away

    return job.descend(gradient)
