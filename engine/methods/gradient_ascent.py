"""Gradient ascent: undo the training of the forget cells by its opposite.

As in "Unrolling SGD" (Thudi et al., EuroS&P 2022, arXiv 2109.13398). Nothing bounds it, and nothing
holds the retain data but the choice of when to stop.
"""

from engine.methods.baseline import BaselineSettings, Job
from engine.problem import Outcome, Problem


def unlearn(problem: Problem) -> Outcome:
    """Descend `-L_forget`."""
    job = Job(problem, BaselineSettings.parse(problem.settings))
    return job.descend(lambda _: -job.forget_gradient())
