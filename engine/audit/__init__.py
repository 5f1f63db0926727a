"""The audit: what a new version does on forgotten, retained and held-out data, and the verdict.

It is empirical evidence, not a proof of erasure. `audit` judges any pair of networks, however the
second came about; it never looks at the half of the held-out data that calibrated a method.
"""

import torch
from torch import nn

from engine.audit import verdict as rules
from engine.audit.cells import Comparison, judge
from engine.audit.measure import Evidence, ForgottenCells, measure
from engine.audit.uis import TaskScores, uis
from engine.spec import AuditReport
from engine.workload import Reporter

__all__ = ["Evidence", "ForgottenCells", "audit"]


def audit(
    evidence: Evidence, before: nn.Module, after: nn.Module, progress: Reporter
) -> AuditReport:
    """Measure `after` against its parent `before` and judge it; both are left in eval mode.

    The thresholds' confidence holds for all cells together (Bonferroni): at most 1 - confidence of
    the audits of versions that leave nothing to find fail.
    """
    count = len(evidence.requests) * len(evidence.workload.tasks)
    steps = count + 2
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
        confidence=1 - (1 - evidence.thresholds.confidence) / count,
        identical=identical,
    )
    judged = []
    for position in range(len(evidence.requests)):
        for column in range(len(evidence.workload.tasks)):
            judged.append(judge(comparison, position, column))
            progress(2 + len(judged), steps)
    impacts = [cell.impact for cell in judged if cell.impact is not None]
    references = [cell.reference.description for cell in judged if cell.reference is not None]
    return AuditReport(
        cells=tuple(cell.report for cell in judged),
        verdict=rules.worst([cell.report.verdict for cell in judged]),
        uis_before=uis([_unmoved(impact) for impact in impacts]),
        uis_after=uis(impacts),
        reference="; ".join(dict.fromkeys(references)) or "none",
        notes=_notes(evidence, identical),
    )


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


def _notes(evidence: Evidence, identical: bool) -> tuple[str, ...]:
    notes = ["Empirical evidence by a loss-threshold attack, not a proof of erasure."]
    if identical:
        notes.append("The version's weights are its parent's, byte for byte.")
    for request in evidence.requests:
        copies = _copies_left(evidence, request)
        if copies:
            notes.append(
                f"{copies} instances of request {request.request_id} have an exact copy under"
                " another id that still teaches the tasks they were to be forgotten for."
            )
    return tuple(notes)


def _copies_left(evidence: Evidence, request: ForgottenCells) -> int:
    """How many forgotten instances have a twin (same digest) in the retain set of a same task."""
    digests = evidence.train.digests
    found: set[int] = set()
    for column in range(request.cells.shape[1]):
        teaching = {
            digests[row] for row in evidence.retain[:, column].nonzero().squeeze(1).tolist()
        }
        forgotten = request.cells[:, column].nonzero().squeeze(1).tolist()
        found.update(row for row in forgotten if digests[row] in teaching)
    return len(found)
