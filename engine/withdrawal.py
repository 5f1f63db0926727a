"""A task that nobody teaches any more: its own weights become those of a network never taught it.

Retraining would leave such a task at random weights, while a method that knows when to stop leaves
it as good as it is for strangers: what the labels taught in general would stay. So the method first
makes the forgotten instances look unseen, through the head that learnt from them, in the shared
weights too; then the head itself is taken back. Its weights are found by differentiation: those
that this task's output depends on and no other's does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from engine.contract import fresh_model, owners_code
from engine.errors import InvalidSpec
from engine.evaluation import forward
from engine.methods.normalisation import re_estimate
from engine.problem import Outcome, Problem

OwnWeights = Mapping[str, Sequence[str]]
"""Names of parameters by task."""


def emptied_tasks(tasks: Sequence[str], retain: Tensor, forget: Tensor) -> list[str]:
    """The tasks with something to forget and nothing to retain (both bool [N, T])."""
    emptied = forget.any(0) & ~retain.any(0)
    return [name for name, alone in zip(tasks, emptied.tolist(), strict=True) if alone]


def own_weights(problem: Problem, tasks: Sequence[str]) -> OwnWeights:
    """The weights of each of the tasks that no other task's output depends on.

    Raises `InvalidSpec` for a task without any.
    """
    problem.model.eval()
    indices = torch.arange(min(2, len(problem.train)))
    outputs, _ = forward(problem.model, problem.train, indices, problem.device)
    named = [(n, w) for n, w in problem.model.named_parameters() if w.requires_grad]
    readers: dict[str, set[str]] = {name: set() for name, _ in named}
    for task in problem.workload.tasks:
        with owners_code("the network"):
            gradients = torch.autograd.grad(
                outputs[task].sum(), [w for _, w in named], retain_graph=True, allow_unused=True
            )
        for (name, _), gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                readers[name].add(task)
    own = {task: [name for name, by in readers.items() if by == {task}] for task in tasks}
    for task, names in own.items():
        if not names:
            raise InvalidSpec(
                f"every training instance of task {task!r} would be forgotten, but it shares all"
                " its weights with other tasks, so none can be taken back: choose the method"
                " retrain"
            )
    return own


def withdraw(problem: Problem, own: OwnWeights, outcome: Outcome) -> Outcome:
    """Put a fresh network's weights in place of `own`; the outcome says so.

    Under the problem's seed they are the very weights that retraining would leave there.
    """
    with torch.random.fork_rng():
        torch.manual_seed(problem.seed)
        fresh = dict(fresh_model(problem.workload).named_parameters())
    weights = dict(problem.model.named_parameters())
    with torch.no_grad():
        for name in (name for names in own.values() for name in names):
            weights[name].copy_(fresh[name])
    re_estimate(
        problem.model, problem.train, problem.retain.any(1).nonzero().squeeze(1), problem.device
    )
    counts = {task: sum(weights[n].numel() for n in names) for task, names in own.items()}
    notes = [
        f"No instance teaches task {task!r} any more: its own {count} weights are those of a"
        " network that never learnt it."
        for task, count in counts.items()
    ]
    return replace(
        outcome,
        settings={**outcome.settings, "withdrawn_weights": dict(counts)},
        notes=(*outcome.notes, *notes),
    )
