"""Fine-tuning: go on training without the forgotten cells, and hope that they fade.

The usual first baseline, as in "Eternal Sunshine of the Spotless Net" (Golatkar et al., CVPR 2020,
arXiv 1911.04933).
"""

from engine.methods.baseline import BaselineSettings, Job
from engine.problem import Outcome, Problem


def unlearn(problem: Problem) -> Outcome:
    """Descend `L_retain`."""
    job = Job(problem, BaselineSettings.parse(problem.settings))
    return job.descend(lambda _: job.retain_gradient())
