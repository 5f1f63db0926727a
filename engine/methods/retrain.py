"""Retraining from scratch without the forgotten cells: exact, and as dear as the first training."""

import torch

from engine.contract import fresh_model, owners_code
from engine.errors import InvalidSpec
from engine.problem import Outcome, Problem


def unlearn(problem: Problem) -> Outcome:
    """Replace the model by one that the owner's recipe trained on the retain cells alone."""
    if problem.settings:
        raise InvalidSpec(f"retrain has no settings, but {', '.join(problem.settings)} was given")
    with torch.random.fork_rng():
        torch.manual_seed(problem.seed)
        fresh = fresh_model(problem.workload).to(problem.device)
        with owners_code("the workload's train"):
            evaluations = problem.workload.train(
                fresh, problem.train, problem.retain, problem.seed, problem.progress
            )
    problem.model.load_state_dict(fresh.state_dict())
    return Outcome(settings={}, gradient_evaluations=evaluations)
