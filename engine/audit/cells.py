"""One request on one task: its measurements before and after, and the findings on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import evaluation
from engine.audit import verdict as rules
from engine.audit.attacks import attack
from engine.audit.comparison import Comparison
from engine.audit.damage import kept_interval, kept_share
from engine.audit.measure import ForgottenCells, Scores
from engine.audit.reference import Reference
from engine.audit.strangers import clusters
from engine.audit.uis import TaskScores
from engine.audit.verdict import Finding
from engine.spec import CellAudit, Change, Interval
from engine.workload import InstanceSet, Task


@dataclass(frozen=True)
class Judged:
    """A cell's report, with what the whole audit needs of it."""

    report: CellAudit
    reference: Reference | None
    """None where nothing was to be forgotten."""
    impact: TaskScores | None
    """The cell's term of the UIS; None where a metric is missing or nothing teaches the task."""


def judge(comparison: Comparison, position: int, column: int) -> Judged:
    """The cell of the request at `position` and the task of `column`."""
    evidence, before, after = comparison.evidence, comparison.before, comparison.after
    request = evidence.requests[position]
    task = list(evidence.workload.tasks.values())[column]
    target = task.name in request.tasks
    forget = _change(before.forget[position], after.forget[position], column)
    retain = _change(before.retain, after.retain, column)
    validation = _change(before.validation, after.validation, column)
    findings = [rules.unchanged()] if comparison.identical else []
    attacked = None
    if target and bool(request.cells[:, column].any()):
        attacked = attack(comparison, request, column)
        findings += attacked.findings
    taught = evidence.teaches(column)
    findings += (
        _damage(comparison, request, column, task, target) if taught else [rules.withdrawn()]
    )
    impact = None
    if taught and forget is not None and validation is not None:
        impact = TaskScores(
            target, forget.before, forget.after, validation.before, validation.after
        )
    combined = rules.combine(findings)
    intervals = comparison.intervals
    report = CellAudit(
        request_id=request.request_id,
        task=task.name,
        target=target,
        metric=task.metric_name,
        higher_is_better=task.higher_is_better,
        forget=forget,
        retain=retain,
        validation=validation,
        auc=attacked.auc if attacked else None,
        verdict=combined.verdict,
        reason=combined.reason,
        forget_interval=intervals.forget[position][column] if intervals else None,
        validation_interval=intervals.validation[column] if intervals else None,
        relearning=attacked.relearning if attacked else None,
        likelihood_ratio=attacked.likelihood_ratio if attacked else None,
        retrained_auc=attacked.retrained_auc if attacked else None,
        distance=attacked.distance if attacked else None,
    )
    return Judged(report, attacked.reference if attacked else None, impact)


def _damage(
    comparison: Comparison, request: ForgottenCells, column: int, task: Task, target: bool
) -> list[Finding]:
    """Quality left on retain and held-out data, and on what a partial request leaves in place.

    Retain data are all there is, so their share is exact; held-out data are a sample, as are the
    request's own instances on its kept tasks, which are judged where they are as many as a
    reference must be.
    """
    evidence, before, after = comparison.evidence, comparison.before, comparison.after
    held_out = before.validation[column]
    findings = []
    retain = _kept(before.retain[column], after.retain[column], task, held_out)
    if retain is not None:
        exact = Interval(low=retain, value=retain, high=retain)
        findings.append(rules.kept("retain", exact, evidence.thresholds))
    if column not in comparison.held_out_kept:
        judging = evidence.judging
        comparison.held_out_kept[column] = _sample_share(
            comparison, judging, judging.supervision[:, column], column, task
        )
    shares = {"validation": comparison.held_out_kept[column]}
    own = evidence.retain[:, column] & request.instances
    if not target and int(own.sum()) >= evidence.thresholds.min_reference:
        shares["forget instances'"] = _sample_share(comparison, evidence.train, own, column, task)
    findings += [
        rules.kept(where, share, evidence.thresholds)
        for where, share in shares.items()
        if share is not None
    ]
    return findings


def _sample_share(
    comparison: Comparison, instances: InstanceSet, members: Tensor, column: int, task: Task
) -> Interval | None:
    """The share kept on a sample, with an interval if the estimate alone does not pass."""
    evidence = comparison.evidence
    rows = members.nonzero().squeeze(1)
    if not len(rows):
        return None

    def measure(choices: Sequence[Tensor]) -> list[float | None]:
        cell_sets = []
        for choice in choices:
            cells = torch.zeros_like(instances.supervision)
            cells[rows[choice], column] = True
            cell_sets.append(cells)
        both = [
            evaluation.metrics(
                evidence.workload, measured.model, instances, cell_sets, evidence.device
            )
            for measured in (comparison.before, comparison.after)
        ]
        held_out = comparison.before.validation[column]
        return [_kept(b[column], a[column], task, held_out) for b, a in zip(*both, strict=True)]

    everything = torch.ones(len(rows), dtype=torch.bool)
    (share,) = measure([everything])
    if share is None:
        return None
    exact = Interval(low=share, value=share, high=share)
    if share >= evidence.thresholds.retain_kept:
        return exact
    return kept_interval(clusters(instances, rows), measure, comparison.confidence) or exact


def _kept(
    before: float | None, after: float | None, task: Task, held_out: float | None
) -> float | None:
    if before is None or after is None:
        return None
    return kept_share(
        before, after, task.higher_is_better, before if held_out is None else held_out
    )


def _change(before: Scores, after: Scores, column: int) -> Change | None:
    first, second = before[column], after[column]
    return None if first is None or second is None else Change(before=first, after=second)
