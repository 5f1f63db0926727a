"""Measurements that are no run of a method: the audit's controls, and what a step costs.

They stand in a second file of JSON lines, beside the runs' own.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from benchmarks.unlearning.rows import Scope


class _Check(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    workload: str
    options: dict[str, JsonValue]


class Controls(_Check):
    """Three networks whose verdict is known beforehand."""

    check: Literal["controls"] = "controls"
    scope: Scope
    seed: int
    copied: str
    """Of the original: must `fail`."""
    ruined: str
    """Trained on the forget set's loss upwards: must `fail`."""
    retrained: str
    """Must `pass`."""


class FalseFailures(_Check):
    """Audits of networks that have nothing to forget."""

    check: Literal["false_failures"] = "false_failures"
    draws: int
    failed: int
    inconclusive: int


class StepCost(_Check):
    """One step of the default method against one plain training step."""

    check: Literal["step_cost"] = "step_cost"
    scope: Scope
    seconds: float
    plain_seconds: float
    peak_bytes: int | None
    plain_peak_bytes: int | None


Check = Annotated[Controls | FalseFailures | StepCost, Field(discriminator="check")]
_CHECK: TypeAdapter[Controls | FalseFailures | StepCost] = TypeAdapter(Check)


def checks_file(out: Path) -> Path:
    """Where the checks of a results file stand."""
    return out.with_name(f"{out.stem}_checks.jsonl")


def read_checks(path: Path) -> list[Controls | FalseFailures | StepCost]:
    """The checks in a file, the latest of each kind; none where there is no file."""
    if not path.exists():
        return []
    latest: dict[tuple[object, ...], Controls | FalseFailures | StepCost] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        found = _CHECK.validate_json(line)
        scope = None if isinstance(found, FalseFailures) else found.scope
        seed = found.seed if isinstance(found, Controls) else None
        options = repr(sorted(found.options.items()))
        latest[found.check, found.workload, options, scope, seed] = found
    return list(latest.values())
