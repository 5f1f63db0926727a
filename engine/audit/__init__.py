"""The audit: what a new version does on forgotten, retained and held-out data, and the verdict.

It is empirical evidence, not a proof of erasure. `audit` judges any pair of networks, however the
second came about; it never looks at the half of the held-out data that calibrated a method.
"""

from collections.abc import Sequence

import torch
from torch import nn

from engine.audit import verdict as rules
from engine.audit.cells import Judged, judge
from engine.audit.comparison import Comparison
from engine.audit.earlier import audit_earlier
from engine.audit.measure import Evidence, ForgottenCells, measure
from engine.audit.metric_intervals import metric_intervals
from engine.audit.notes import notes
from engine.audit.relearn import relearn
from engine.audit.shadow import train_shadows
from engine.audit.uis import TaskScores, uis
from engine.spec import AuditReport, Thresholds
from engine.workload import Reporter

__all__ = ["Evidence", "ForgottenCells", "audit"]


def audit(
    evidence: Evidence, before: nn.Module, after: nn.Module, progress: Reporter
) -> AuditReport:
    """Measure `after` against its parent `before` and judge it; both are left in eval mode.

    The thresholds' confidence holds for all cells together (Bonferroni): at most 1 - confidence of
    the audits of versions that leave nothing to find fail.
    """
    thresholds, tasks = evidence.thresholds, list(evidence.workload.tasks)
    cells = len(evidence.requests) * len(tasks)
    count = cells + int(evidence.earlier_sample().any(0).sum())
    shadows = thresholds.trainings
    steps = cells + shadows + 4
    progress(0, steps)
    measured_before = measure(evidence, before)
    progress(1, steps)
    measured_after = measure(evidence, after)
    progress(2, steps)
    identical = _same_weights(before, after)
    comparison = Comparison(
        evidence,
        measured_before,
        measured_after,
        confidence=1 - (1 - thresholds.confidence) / count,
        identical=identical,
        probe=relearn(evidence, after),
        shadows=train_shadows(evidence, shadows, lambda step, _: progress(2 + step, steps)),
        intervals=metric_intervals(
            evidence, after, measured_after.forget, measured_after.validation
        ),
    )
    done = 3 + shadows
    progress(done, steps)
    judged = []
    for position in range(len(evidence.requests)):
        for column in range(len(tasks)):
            judged.append(judge(comparison, position, column))
            progress(done + len(judged), steps)
    earlier = audit_earlier(comparison)
    come_back = [found.verdict for found in earlier if found.verdict == "fail"]
    impacts = [cell.impact for cell in judged if cell.impact is not None]
    report = AuditReport(
        cells=tuple(cell.report for cell in judged),
        verdict=rules.worst([*(cell.report.verdict for cell in judged), *come_back]),
        uis_before=uis([_unmoved(impact) for impact in impacts]),
        uis_after=uis(impacts),
        reference=_reference(judged, thresholds, shadows),
        notes=notes(evidence, earlier, identical=identical, shadows=shadows),
        earlier=earlier,
    )
    progress(steps, steps)
    return report


def _reference(judged: Sequence[Judged], thresholds: Thresholds, shadows: int) -> str:
    """What stood in for *never seen*."""
    held_out = [cell.reference.description for cell in judged if cell.reference is not None]
    described = "; ".join(dict.fromkeys(held_out))
    if described and thresholds.reference == "retrained":
        described += f"; as {shadows} network{'s' * (shadows > 1)} retrained on the retain set"
    return described or "none"


def _unmoved(scores: TaskScores) -> TaskScores:
    """The scores of the parent itself."""
    return TaskScores(
        scores.target,
        scores.forget_before,
        scores.forget_before,
        scores.held_out_before,
        scores.held_out_before,
    )


def _same_weights(before: nn.Module, after: nn.Module) -> bool:
    first, second = before.state_dict(), after.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
