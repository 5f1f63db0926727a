"""What is measured on a network that has forgotten: on the test split, which no method saw."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.unlearning.cases import Case
from benchmarks.unlearning.rows import TaskMetrics
from engine import evaluation
from engine.audit import Evidence, ForgottenCells, audit
from engine.audit.cells import Judged, judge
from engine.audit.comparison import Comparison
from engine.audit.damage import kept_share
from engine.audit.measure import measure
from engine.audit.uis import TaskScores, uis
from engine.extra_metrics import extra_scores
from engine.spec import Thresholds
from engine.workload import InstanceSet

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Findings:
    """The measured part of a row."""

    uis: float
    metrics: dict[str, TaskMetrics]
    extra_metrics: dict[str, dict[str, TaskMetrics]]
    auc: dict[str, tuple[float, float, float]]
    verdict: str
    first_verdict: str | None
    kept: dict[str, float]


class Judge:
    """Compares networks with the original, after the request at one position of a case."""

    def __init__(self, case: Case, position: int) -> None:
        """Measure the original on the test split."""
        self._case = case
        bench = case.bench
        self._tasks = list(bench.workload.tasks)
        targets = bench.targets(case.scope)
        named = frozenset(n for n, target in zip(self._tasks, targets, strict=True) if target)
        self._targets = targets
        cells = case.forgotten(position)
        self._retain = bench.train.supervision & ~cells
        self._all = ForgottenCells("all", cells, cells.any(1), named)
        first = case.steps[0]
        self._first = ForgottenCells("first", first, first.any(1), named)
        self._on_test = self._evidence(bench.test, self._all)
        self._before = measure(self._on_test, case.original)

    def uis(self, model: nn.Module) -> float:
        """The UIS x 100 against the test split alone: the cheap part of `findings`."""
        bench = self._case.bench
        own = self._all.cells | (self._retain & self._all.instances[:, None])
        (forget,) = evaluation.metrics(bench.workload, model, bench.train, [own], bench.device)
        (test,) = evaluation.metrics(
            bench.workload, model, bench.test, [bench.test.supervision], bench.device
        )
        scores = []
        for column, target in enumerate(self._targets):
            known = (
                self._before.forget[0][column],
                forget[column],
                self._before.validation[column],
                test[column],
            )
            if all(value is not None for value in known):
                scores.append(TaskScores(target, *known))  # type: ignore[arg-type]
        return uis(scores)

    def findings(self, model: nn.Module) -> Findings:
        """Everything that a row says of the network."""
        bench = self._case.bench
        comparison = Comparison(
            self._on_test,
            self._before,
            measure(self._on_test, model),
            confidence=_CONFIDENCE,
            identical=False,
        )
        judged = [judge(comparison, 0, column) for column in range(len(self._tasks))]
        validation: Tensor = bench.judging.supervision
        (val,) = evaluation.metrics(
            bench.workload, model, bench.judging, [validation], bench.device
        )
        return Findings(
            uis=uis([cell.impact for cell in judged if cell.impact is not None]),
            metrics={
                cell.report.task: _metrics(cell, val[column]) for column, cell in enumerate(judged)
            },
            extra_metrics=self._extra_metrics(model),
            auc={
                cell.report.task: (found.low, found.value, found.high)
                for cell in judged
                if cell.report.auc is not None and (found := cell.report.auc.after)
            },
            verdict=self._verdict(model, self._all),
            first_verdict=self._verdict(model, self._first) if self._case.is_sequence else None,
            kept={cell.report.task: share for cell in judged if (share := _kept(cell)) is not None},
        )

    def _extra_metrics(self, model: nn.Module) -> dict[str, dict[str, TaskMetrics]]:
        """As `metrics`, of the tasks that have further ones."""
        bench = self._case.bench
        own = self._all.cells | (self._retain & self._all.instances[:, None])
        forget, retain = extra_scores(
            bench.workload, model, bench.train, [own, self._retain], bench.device
        )
        (val,), (test,) = (
            extra_scores(bench.workload, model, split, [split.supervision], bench.device)
            for split in (bench.judging, bench.test)
        )
        return {
            task: {
                name: TaskMetrics(
                    forget=value,
                    retain=retain[task][name],
                    val=val[task][name],
                    test=test[task][name],
                )
                for name, value in values.items()
            }
            for task, values in forget.items()
        }

    def _verdict(self, model: nn.Module, request: ForgottenCells) -> str:
        evidence = self._evidence(self._case.bench.judging, request)
        return audit(evidence, self._case.original, model, lambda *_: None).verdict

    def _evidence(self, held_out: InstanceSet, request: ForgottenCells) -> Evidence:
        bench = self._case.bench
        return Evidence(
            bench.workload,
            bench.train,
            self._retain,
            held_out,
            [request],
            Thresholds(),
            torch.device(bench.device),
        )


def _metrics(cell: Judged, val: float | None) -> TaskMetrics:
    report = cell.report
    return TaskMetrics(
        forget=report.forget.after if report.forget else None,
        retain=report.retain.after if report.retain else None,
        val=val,
        test=report.validation.after if report.validation else None,
    )


def _kept(cell: Judged) -> float | None:
    """The share of the original's retain quality; errors in units of its error on test."""
    report = cell.report
    if report.retain is None:
        return None
    before = report.retain.before
    unit = report.validation.before if report.validation else before
    return kept_share(before, report.retain.after, report.higher_is_better, unit)
