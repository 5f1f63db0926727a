"""What one step of the default method costs beside one plain training step, in time and memory."""

import contextlib
import copy
import statistics
from collections.abc import Callable

import torch

from benchmarks.unlearning.bench import Bench
from benchmarks.unlearning.cases import Case, draw
from benchmarks.unlearning.checks import StepCost
from benchmarks.unlearning.contestants import OURS
from benchmarks.unlearning.forget_sets import parse
from benchmarks.unlearning.memory import Peak, peak_memory
from benchmarks.unlearning.original import Watch
from benchmarks.unlearning.rows import Scope
from engine import evaluation
from engine.methods.settings import Settings
from engine.registry import load_method
from engine.workload import Reporter

_FIRST, _LAST = 5, 25
"""The steps between which is measured; those before warm up."""
_REPEATS = 3


class _Enough(Exception):
    """All steps that are to be measured were taken."""


class _Stretch:
    """Told of each step, measures those between the first and the last, and ends the work."""

    def __init__(self, case: Case, peak: Peak) -> None:
        self.seconds = 0.0
        """One step's, on average."""
        self._case = case
        self._peak = peak
        self._watch = Watch(case.bench.device)

    def __call__(self, step: int, of: int) -> None:
        self._case.bench.pulse(step, of)
        if step == _FIRST:
            self._peak.restart()  # the preparations are no part of a step
            self._watch = Watch(self._case.bench.device)
        elif step == _LAST:
            self.seconds = self._watch.seconds() / (_LAST - _FIRST)
            raise _Enough


def step_cost(bench: Bench, scope: Scope) -> StepCost:
    """A step of each kind, the method's own preparations and looks at held-out data left out.

    Both see as many instances as the method's step: its forget batch and its retain batch. The
    plain step is forward, backward and AdamW. Times are medians of three runs; memory is the peak
    while steps are taken, beyond what was held before the run: what it keeps between steps counts.
    """
    case = draw(bench, scope, parse("random:0.1"), 0)
    seconds, peak = _cost(_ours, case)
    plain_seconds, plain_peak = _cost(_plain, case)
    return StepCost(
        workload=bench.choice.label,
        options=bench.choice.shown,
        scope=scope,
        seconds=seconds,
        plain_seconds=plain_seconds,
        peak_bytes=peak,
        plain_peak_bytes=plain_peak,
    )


def _cost(take: Callable[[Case, Reporter], None], case: Case) -> tuple[float, int | None]:
    times, peaks = [], []
    for _ in range(_REPEATS):
        with peak_memory(case.bench.device) as peak:
            stretch = _Stretch(case, peak)
            with contextlib.suppress(_Enough):
                take(case, stretch)
        times.append(stretch.seconds)
        peaks.append(peak.bytes)
    known = [found for found in peaks if found is not None]
    return statistics.median(times), statistics.median_low(known) if known else None


def _ours(case: Case, progress: Reporter) -> None:
    settings: dict[str, object] = {"min_steps": 10 * _LAST, "check_every": 10 * _LAST}
    load_method(OURS)(case.problem(0, copy.deepcopy(case.original), settings, progress))


def _plain(case: Case, progress: Reporter) -> None:
    bench, model = case.bench, copy.deepcopy(case.original).train()
    cells = bench.train.supervision
    size = min(Settings().forget_batch + Settings().retain_batch, len(cells))
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(_LAST):
        indices = torch.arange(step * size, (step + 1) * size) % len(cells)
        outputs, batch = evaluation.forward(model, bench.train, indices, bench.device)
        losses = evaluation.cell_losses(bench.workload, outputs, batch, cells[indices])
        loss = evaluation.task_mean(losses, cells[indices].to(bench.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress(step + 1, _LAST)
