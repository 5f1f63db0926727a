"""What one step of the default method costs beside one plain training step, in time and memory."""

import copy
import statistics
from collections.abc import Callable

import torch

from benchmarks.unlearning.bench import Bench
from benchmarks.unlearning.cases import Case, draw
from benchmarks.unlearning.checks import StepCost
from benchmarks.unlearning.contestants import OURS, Trial
from benchmarks.unlearning.forget_sets import parse
from benchmarks.unlearning.memory import peak_memory
from benchmarks.unlearning.original import Watch
from benchmarks.unlearning.rows import Scope
from engine import evaluation
from engine.methods.settings import Settings
from engine.registry import load_method

_FEW, _MANY = 10, 30
_REPEATS = 3


def step_cost(bench: Bench, scope: Scope) -> StepCost:
    """A step of each kind, the method's own preparations and looks at held-out data left out.

    Both see as many instances as the method's step: its forget batch and its retain batch. The
    plain step is forward, backward and AdamW. Times are medians of three differences between a long
    and a short run; memory is the peak of a run beyond what was held before it, taken without the
    mask, whose estimate before the first step is no part of a step.
    """
    case = draw(bench, scope, parse("random:0.1"), 0)
    seconds, peak = _cost(
        lambda steps: _ours(case, steps),
        lambda steps: _ours(case, steps, {"mask_share": 1.0}),
        case,
    )
    plain_seconds, plain_peak = _cost(
        lambda steps: _plain(case, steps), lambda steps: _plain(case, steps), case
    )
    return StepCost(
        workload=bench.choice.label,
        options=bench.choice.shown,
        scope=scope,
        seconds=seconds,
        plain_seconds=plain_seconds,
        peak_bytes=peak,
        plain_peak_bytes=plain_peak,
    )


def _cost(
    take: Callable[[int], None], bare: Callable[[int], None], case: Case
) -> tuple[float, int | None]:
    take(1)  # warm up
    with peak_memory(case.bench.device) as peak:
        bare(_FEW)
    differences = []
    for _ in range(_REPEATS):
        times = []
        for steps in (_FEW, _MANY):
            watch = Watch(case.bench.device)
            take(steps)
            times.append(watch.seconds())
        differences.append((times[1] - times[0]) / (_MANY - _FEW))
    return statistics.median(differences), peak.bytes


def _ours(case: Case, steps: int, changes: Trial | None = None) -> None:
    settings: Trial = {
        "min_steps": max(2, steps),
        "steps_per_instance": 1e-6,
        "check_every": 10 * _MANY,
        "rounds": 1,
        **(changes or {}),
    }
    load_method(OURS)(case.problem(0, copy.deepcopy(case.original), dict(settings)))


def _plain(case: Case, steps: int) -> None:
    bench, model = case.bench, copy.deepcopy(case.original).train()
    cells = bench.train.supervision
    size = min(Settings().forget_batch + Settings().retain_batch, len(cells))
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(steps):
        indices = torch.arange(step * size, (step + 1) * size) % len(cells)
        outputs, batch = evaluation.forward(model, bench.train, indices, bench.device)
        losses = evaluation.cell_losses(bench.workload, outputs, batch, cells[indices])
        loss = evaluation.task_mean(losses, cells[indices].to(bench.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
