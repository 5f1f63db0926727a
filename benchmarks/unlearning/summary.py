"""Rows brought together: mean and spread over seeds of each method on each problem."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.unlearning.contestants import OURS, RETRAIN, is_baseline
from benchmarks.unlearning.rows import Row, Scope


@dataclass(frozen=True)
class Spread:
    """A mean over seeds."""

    mean: float
    sd: float | None
    """None of a single value."""


@dataclass(frozen=True)
class Question:
    """What several methods were asked to do."""

    workload: str
    options: str
    """As JSON."""
    scope: Scope
    forget_set: str

    @property
    def title(self) -> str:
        """For a heading."""
        return f"{self.workload}, {self.scope}, {self.forget_set}"


@dataclass(frozen=True)
class Answer:
    """A method's rows on a question, one a seed; of a sequence those after its last request."""

    method: str
    rows: list[Row]
    """At the method's own stop."""
    oracle: list[Row]
    errors: list[str]

    def over(self, value: Callable[[Row], float | None]) -> Spread | None:
        """Mean and spread of a value over the seeds that have it."""
        return spread(value(row) for row in self.rows)

    @property
    def uis(self) -> Spread | None:
        """Of the UIS x 100."""
        return self.over(lambda row: row.uis)

    @property
    def oracle_uis(self) -> Spread | None:
        """Of the UIS x 100 at the best step by test."""
        return spread(row.uis for row in self.oracle)

    @property
    def kept(self) -> Spread | None:
        """Of the worst task's share of its original retain quality."""
        return self.over(lambda row: min(row.kept.values(), default=None))

    def kept_by_task(self) -> dict[str, float]:
        """The mean share of each task's original retain quality."""
        return mean_by_key([row.kept for row in self.rows])

    def auc(self) -> dict[str, tuple[float, float, float]]:
        """Each target task's membership AUC between its ends, means over seeds."""
        ends = [
            mean_by_key([{t: a[end] for t, a in row.auc.items()} for row in self.rows])
            for end in range(3)
        ]
        return {task: (ends[0][task], ends[1][task], ends[2][task]) for task in ends[0]}

    @property
    def looks_unseen(self) -> bool:
        """Whether every target task's mean interval of the AUC holds .5."""
        found = self.auc().values()
        return bool(found) and all(low <= 0.5 <= high for low, _, high in found)

    @property
    def is_candidate(self) -> bool:
        """Whether it is a baseline that keeps 95 % of every retain metric and looks unseen."""
        kept = self.kept_by_task()
        whole = is_baseline(self.method) and bool(self.rows) and not self.errors
        return whole and all(share >= 0.95 for share in kept.values()) and self.looks_unseen


@dataclass(frozen=True)
class Field:
    """All answers to a question, in the order of the rows."""

    question: Question
    answers: dict[str, Answer]

    @property
    def ours(self) -> Answer | None:
        """The default method's, where it has carried out a run."""
        answer = self.answers.get(OURS)
        return answer if answer and answer.rows else None

    @property
    def retrain(self) -> Answer | None:
        """Retraining's, where it was measured."""
        answer = self.answers.get(RETRAIN)
        return answer if answer and answer.rows else None

    @property
    def strongest(self) -> Answer | None:
        """The candidate baseline with the lowest mean UIS; None where no baseline is one."""
        candidates = [a for a in self.answers.values() if a.is_candidate and a.uis is not None]
        return min(candidates, key=lambda a: a.uis.mean if a.uis else 0.0, default=None)

    @property
    def has_baselines(self) -> bool:
        """Whether a baseline has carried out a run."""
        return any(is_baseline(a.method) and bool(a.rows) for a in self.answers.values())

    @property
    def ratio(self) -> float:
        """The share of instances forgotten, mean over all runs."""
        return statistics.fmean(r.ratio for a in self.answers.values() for r in a.rows)


def fields(rows: Sequence[Row]) -> list[Field]:
    """The rows question by question, each in the order of its first row."""
    grouped: dict[Question, dict[str, list[Row]]] = {}
    for row in rows:
        question = Question(
            row.workload, json.dumps(row.options, sort_keys=True), row.scope, row.forget_set
        )
        grouped.setdefault(question, {}).setdefault(row.method, []).append(row)
    return [
        Field(question, {method: _answer(method, found) for method, found in methods.items()})
        for question, methods in grouped.items()
    ]


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and sample standard deviation of what is known; None of nothing."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def mean_by_key(tables: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each key's values, over the tables that have it."""
    found: dict[str, list[float]] = {}
    for table in tables:
        for key, value in table.items():
            found.setdefault(key, []).append(value)
    return {key: statistics.fmean(values) for key, values in found.items()}


def _answer(method: str, rows: list[Row]) -> Answer:
    good = [row for row in rows if row.error is None]
    last = max((row.request or 0 for row in good), default=0)
    ended = [row for row in good if (row.request or 0) == last]
    return Answer(
        method,
        [row for row in ended if row.stop == "own"],
        [row for row in ended if row.stop == "oracle"],
        [row.error for row in rows if row.error is not None],
    )
