"""One method on one case: from settings to rows."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchmarks.unlearning.cases import Case
from benchmarks.unlearning.contestants import ORIGINAL, RETRAIN, Trial, is_baseline, resolve, trials
from benchmarks.unlearning.judge import Judge
from benchmarks.unlearning.memory import peak_memory
from benchmarks.unlearning.original import Cost, Watch, keep, load_kept
from benchmarks.unlearning.rows import Row
from benchmarks.unlearning.tuning import tune
from engine.errors import EngineError
from engine.registry import load_method
from engine.workload import Reporter

TuningCase = Callable[[], Case]
"""The first seed's case, asked for only if a method is tuned."""


@dataclass
class _Oracle:
    """Watches a baseline's looks and keeps the weights whose UIS on test is the lowest."""

    judge: Judge
    model: nn.Module
    pulse: Reporter
    device: torch.device
    best: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)
    pause: float = 0.0
    """Seconds that the watching itself took."""

    def __call__(self, step: int, of: int) -> None:
        self.pulse(step, of)
        watch = Watch(self.device)
        if step:
            found = self.judge.uis(self.model)
            if found < self.best:
                state = self.model.state_dict()
                self.best, self.weights = found, {n: t.clone() for n, t in state.items()}
        self.pause += watch.seconds()


def reference(case: Case) -> tuple[nn.Module, Cost]:
    """The network retrained without all of the case's cells; trained once, then kept."""
    name = f"{case.scope}-{case.forget_set.name.replace(':', '-')}"
    folder = case.bench.cache / f"seed-{case.seed}" / RETRAIN / name
    kept = load_kept(case.bench, folder)
    if kept is not None:
        return kept
    model = copy.deepcopy(case.original)
    cost = _timed(case, len(case.steps) - 1, RETRAIN, {}, model, None)
    keep(folder, model, cost)
    return model.eval(), cost


def run(case: Case, label: str, budget: int, tuning_case: TuningCase) -> list[Row]:
    """The rows of a method on a case; where it fails, one row with the sentence it failed with."""
    try:
        if label in (ORIGINAL, RETRAIN):
            return _reference_rows(case, label)
        method, settings = resolve(label)
        choices = trials(method, budget)
        if choices:
            settings = tune(tuning_case(), method, choices)
        return _rows(case, label, method, settings)
    except EngineError as error:
        row = case.row(len(case.steps) - 1, label)
        return [row.model_copy(update={"error": str(error)})]


def _reference_rows(case: Case, label: str) -> list[Row]:
    last = len(case.steps) - 1
    judge = Judge(case, last)
    retrained, cost = reference(case)
    base = judge.uis(retrained)
    if label == RETRAIN:
        return [_measured(case, last, label, judge, retrained, cost, cost, base)]
    return [_measured(case, last, label, judge, case.original, Cost(0.0, 0, 0), cost, base)]


def _rows(case: Case, label: str, method: str, settings: Trial) -> list[Row]:
    """One row a request at the method's own stop, and one at the best step for a baseline."""
    retrained, reference_cost = reference(case)
    last = len(case.steps) - 1
    model = copy.deepcopy(case.original)
    rows = []
    for position in range(len(case.steps)):
        judge = Judge(case, position)
        # Only the last request has a network retrained without all that is forgotten by then.
        base = judge.uis(retrained) if position == last else None
        watched = is_baseline(method) and not case.is_sequence
        oracle = _Oracle(judge, model, case.bench.pulse, case.bench.device) if watched else None
        cost = _timed(case, position, method, settings, model, oracle)
        row = _measured(case, position, label, judge, model, cost, reference_cost, base)
        row = row.model_copy(update={"settings": settings})
        rows.append(row)
        if oracle is not None and oracle.weights:
            best = copy.deepcopy(model)
            best.load_state_dict(oracle.weights)
            shown = _measured(case, position, label, judge, best, cost, reference_cost, base)
            rows.append(shown.model_copy(update={"stop": "oracle", "settings": settings}))
    return rows


def _timed(
    case: Case,
    position: int,
    method: str,
    settings: Trial,
    model: nn.Module,
    oracle: _Oracle | None,
) -> Cost:
    """Let the method change `model`; what it took, without the oracle's part of the time."""
    unlearn = load_method(method)
    problem = case.problem(position, model, dict(settings), oracle)
    with peak_memory(case.bench.device) as peak:
        watch = Watch(case.bench.device)
        outcome = unlearn(problem)
        seconds = watch.seconds()
    _check_finite(model)
    pause = oracle.pause if oracle else 0.0
    return Cost(seconds - pause, outcome.gradient_evaluations, peak.bytes, watch.clock)


def _measured(
    case: Case,
    position: int,
    label: str,
    judge: Judge,
    model: nn.Module,
    cost: Cost,
    reference_cost: Cost,
    base: float | None,
) -> Row:
    found = judge.findings(model)
    return case.row(position, label).model_copy(
        update={
            "uis": found.uis,
            "uis_minus_retrain": None if base is None else found.uis - base,
            "metrics": found.metrics,
            "auc": found.auc,
            "verdict": found.verdict,
            "seconds": cost.seconds,
            "clock": cost.clock,
            "share_of_retraining": _share(cost, reference_cost),
            "gradients": cost.gradients,
            "peak_bytes": cost.peak_bytes,
            "kept": found.kept,
            "first_verdict": found.first_verdict,
            "extra_metrics": found.extra_metrics,
        }
    )


def _share(cost: Cost, whole: Cost) -> float | None:
    """The share of the time; None where another clock timed the whole, for a cost there was."""
    if cost.clock != whole.clock and cost.seconds:
        return None
    return cost.seconds / max(whole.seconds, 1e-9)


def _check_finite(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise EngineError(f"weight {name!r} became NaN or infinite")
