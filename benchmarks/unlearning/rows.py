"""The raw results: JSON lines, one a run; of a sequence, one a request."""

import fcntl
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

Scope = Literal["full", "partial"]
Stop = Literal["own", "oracle"]
Key = tuple[str, str, str, str, int, str]


class TaskMetrics(BaseModel):
    """One task's metric, in its own units; None where it is not defined."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    forget: float | None
    """On the forgotten instances; of a kept task, on those that still teach it."""
    retain: float | None
    val: float | None
    """On the judging half of the validation split."""
    test: float | None


Clock = Literal["wall", "processor"]
"""Seconds that passed, or that one thread on the CPU had of them: other work on the machine makes
the first longer and leaves the second."""


class Row(BaseModel):
    """What one run left. The UIS, the AUC and `test` are measured on the test split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workload: str
    scope: Scope
    forget_set: str
    ratio: float
    """Share of the training instances that are forgotten; in a sequence, by now."""
    seed: int
    method: str
    stop: Stop
    uis: float | None = None
    uis_minus_retrain: float | None = None
    metrics: dict[str, TaskMetrics] = {}
    auc: dict[str, tuple[float, float, float]] = {}
    """Each target task's membership AUC between the ends of its 95 % interval."""
    verdict: str | None = None
    """Of the audit by the judging half of the validation split."""
    seconds: float | None = None
    share_of_retraining: float | None = None
    gradients: int | None = None
    peak_bytes: int | None = None
    """Most memory beyond what was held before the run; None where it cannot be measured."""

    clock: Clock = "wall"
    """Which one the seconds were taken from."""
    options: dict[str, JsonValue] = {}
    """The workload's options, without the folder."""
    request: int | None = None
    """Of a sequence: which request this row follows, from 1."""
    kept: dict[str, float] = {}
    """Share of each task's original retain quality that is left."""
    first_verdict: str | None = None
    """Of a sequence: the audit of the first request alone, after this one."""
    extra_metrics: dict[str, dict[str, TaskMetrics]] = {}
    """By task and name: delta < 1.25 of depth, A11.25 and A30 of normals."""
    settings: dict[str, JsonValue] = {}
    """What the method was told; of a tuned baseline, what tuning chose."""
    device: str = "cpu"
    error: str | None = None
    """The sentence with which a run failed; it then has no measurements."""

    @property
    def key(self) -> Key:
        """What makes two rows results of the same run."""
        return key_of(
            self.workload, self.options, self.scope, self.forget_set, self.seed, self.method
        )


def key_of(
    workload: str,
    options: dict[str, JsonValue],
    scope: str,
    forget_set: str,
    seed: int,
    method: str,
) -> Key:
    """The key of a run whose rows are still to come."""
    return (workload, repr(sorted(options.items())), scope, forget_set, seed, method)


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, of each run the latest ones; none where there is no file.

    Raises `ValueError` naming a line that is no row.
    """
    if not path.exists():
        return []
    latest: dict[tuple[Key, int | None, Stop], Row] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the line"
            raise ValueError(f"{path}, line {number}: {place}: {first['msg']}") from error
        latest[row.key, row.request, row.stop] = row
    return _without_overtaken_errors(list(latest.values()))


def append(path: Path, rows: Sequence[BaseModel]) -> None:
    """Add rows to a file, which is made if missing; several processes may do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.writelines(row.model_dump_json() + "\n" for row in rows)


def _without_overtaken_errors(rows: list[Row]) -> list[Row]:
    """Drops the error of a run that a later attempt carried out."""
    done = {row.key for row in rows if row.error is None and row.stop == "own"}
    return [row for row in rows if row.error is None or row.key not in done]
