"""A workload set up for measuring: its data splits, and where trained networks are kept."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import JsonValue

from benchmarks.unlearning.rows import Scope
from engine.audit.halves import halves
from engine.registry import load_workload
from engine.workload import InstanceSet, Reporter, Workload


@dataclass(frozen=True)
class Choice:
    """A workload to measure on, by its name and options."""

    label: str
    """In rows and tables: the workload's name; of a data folder, the folder's."""
    name: str
    options: Mapping[str, JsonValue]

    @property
    def shown(self) -> dict[str, JsonValue]:
        """The options without the folder, which differs from machine to machine."""
        return {key: value for key, value in self.options.items() if key != "path"}


def data_folder(path: Path, options: Mapping[str, JsonValue]) -> Choice:
    """The `arrays` workload on a folder."""
    return Choice(path.resolve().name, "arrays", {**options, "path": str(path)})


@dataclass(frozen=True)
class Bench:
    """One workload with everything that is the same for all of its runs."""

    choice: Choice
    workload: Workload
    train: InstanceSet
    calibration: InstanceSet
    """The half of the validation split that methods and tuning look at."""
    judging: InstanceSet
    """The other half, by which the audit judges."""
    test: InstanceSet
    """What no method ever sees."""
    device: torch.device
    cache: Path
    pulse: Reporter
    """Called with (step, of) as work goes on; what it raises ends the work."""

    def targets(self, scope: Scope) -> list[bool]:
        """Which tasks a request names: all, or in the partial scope the workload's first."""
        return [scope == "full" or position == 0 for position in range(len(self.workload.tasks))]


def set_up(
    choice: Choice, device: torch.device, cache: Path, pulse: Reporter = lambda *_: None
) -> Bench:
    """Load the data; raises `EngineError` where the workload cannot be built."""
    workload = load_workload(choice.name, choice.options)
    calibration, judging = halves(workload.instances("val"))
    identity = json.dumps(dict(choice.options), sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    return Bench(
        choice,
        workload,
        workload.instances("train"),
        calibration,
        judging,
        workload.instances("test"),
        device,
        cache / f"{choice.label}-{digest}-{device.type}",
        pulse,
    )
