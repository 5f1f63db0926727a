"""Unlearning Impact Score (arXiv 2605.19042): how far a model is from never having seen F."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskScores:
    """One task's metric at the original and at the unlearned model."""

    target: bool
    """Whether the task was asked to forget."""
    forget_before: float
    forget_after: float
    held_out_before: float
    held_out_after: float


def task_impact(scores: TaskScores) -> float:
    """One task's term, a share; 0 is ideal.

    Target: `1/2 (|M - M'| + |M - M'_F|) / M` with M on held-out data: forgotten instances should
    score as unseen ones did. Other: `1/2 (|M - M'| / M + |M_F - M'_F| / M_F)`: nothing should have
    moved. Errors (RMSE, angles) enter as they are.
    """
    moved = _relative(scores.held_out_before, scores.held_out_after, scores.held_out_before)
    if scores.target:
        forgot = _relative(scores.held_out_before, scores.forget_after, scores.held_out_before)
    else:
        forgot = _relative(scores.forget_before, scores.forget_after, scores.forget_before)
    return (moved + forgot) / 2


def uis(tasks: Sequence[TaskScores]) -> float:
    """The mean of the tasks' terms x 100; lower is better. 0 for no task."""
    if not tasks:
        return 0.0
    return 100 * sum(task_impact(scores) for scores in tasks) / len(tasks)


def _relative(before: float, after: float, unit: float) -> float:
    """|before - after| as a share of |unit|, which is kept off zero."""
    return abs(before - after) / max(abs(unit), 1e-6)
