"""Requests honoured before: are their cells still forgotten? A sample is asked again each time."""

from engine.audit import verdict as rules
from engine.audit.comparison import Comparison
from engine.audit.strangers import face
from engine.spec import AucChange, EarlierAudit


def audit_earlier(comparison: Comparison) -> tuple[EarlierAudit, ...]:
    """One finding a task that has cells from earlier requests, in the order of the tasks."""
    evidence, before, after = comparison.evidence, comparison.before, comparison.after
    cells = evidence.earlier_sample()
    found = []
    for column, task in enumerate(evidence.workload.tasks):
        if not bool(cells[:, column].any()):
            continue
        sides = face(evidence, cells[:, column], column, before.judging_losses[:, column])
        rows, held = sides.forgotten, sides.strangers
        if not len(held):
            continue
        own, others = sides.sizes
        start, now = (
            sides.interval(
                measured.forget_losses[rows, column],
                measured.judging_losses[held, column],
                comparison.confidence,
            )
            for measured in (before, after)
        )
        finding = rules.earlier(start, now, sides.reference.objection, others, evidence.thresholds)
        found.append(
            EarlierAudit(
                task=task,
                instances=own.instances,
                auc=AucChange(before=start, after=now),
                verdict=finding.verdict,
                reason=rules.combine([finding]).reason,
            )
        )
    return tuple(found)
