"""Random labels: overwrite what was learnt of the forget cells by something wrong.

"Amnesiac Machine Learning" (Graves et al., AAAI 2021, arXiv 2010.10981). Any kind of task has wrong
targets: those of other, retained instances (`random_targets`).
"""

from pydantic import Field

from engine.methods.baseline import BaselineSettings, Job
from engine.methods.random_targets import RandomTargets
from engine.problem import Outcome, Problem


class RandomLabelSettings(BaselineSettings):
    """The common ones, with retain data in every step."""

    repair: float = Field(1.0, ge=0)
    """Weight of the retain loss."""


def unlearn(problem: Problem) -> Outcome:
    """Descend `L_forget(wrong targets) + repair L_retain`."""
    job = Job(problem, RandomLabelSettings.parse(problem.settings))
    wrong = RandomTargets(problem)
    return job.descend(lambda _: wrong.gradient(job))
