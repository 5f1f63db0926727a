"""Bad teacher: learn the forget cells from a network that knows nothing, the rest from the parent.

"Can Bad Teaching Induce Forgetting?" (Chundawat et al., AAAI 2023, arXiv 2205.08096):
`distance(parent, student)` on retain cells plus `distance(incompetent, student)` on forget cells,
the incompetent teacher being the workload's network at random weights. The distance is the paper's
KL divergence for labels; for other tasks the squared difference (`distance`), so the student
learns a random network's numbers and maps there.
"""

import copy

import torch
from torch import Tensor

from engine.contract import fresh_model
from engine.methods.baseline import BaselineSettings, Job
from engine.methods.teacher import distillation
from engine.problem import Outcome, Problem


def unlearn(problem: Problem) -> Outcome:
    """Descend the distances from both teachers, a batch of each in every step."""
    job = Job(problem, BaselineSettings.parse(problem.settings))
    parent = copy.deepcopy(problem.model)
    seed = int(torch.randint(2**31, (), generator=problem.generator))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        incompetent = fresh_model(problem.workload).to(problem.device).eval()

    def gradient(_: int) -> Tensor:
        taught, lost = job.draw_retain(), job.draw_forget()
        good = distillation(job, parent, taught, problem.retain)
        bad = distillation(job, incompetent, lost, problem.forget)
        return job.gradient(good + bad, len(taught) + len(lost))

    return job.descend(gradient)
