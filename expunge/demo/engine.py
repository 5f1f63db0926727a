"""The engine by hand, as a model's owner has it: training, and a metric on test data."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.cli.progress import OnStep
from expunge.errors import ExpungeError
from expunge.processes import Process, spawn, stop


@dataclass(frozen=True)
class Owner:
    """Somebody with a workload, who trains and looks at weights on this machine."""

    workload: str
    options: Mapping[str, Any]
    folder: Path
    """For everything that is written."""

    def train(self, seed: int, on_step: OnStep) -> Mapping[str, Any]:
        """Train from scratch into the folder; the engine's report of it."""
        arguments = ("--seed", str(seed), "--out", str(self.folder), "--json")
        trained: Mapping[str, Any] = {}
        for line in self._engine("train", *arguments):
            if line.get("event") == "progress":
                on_step(f"training {self.workload}", line["step"], line["of"], line["eta_seconds"])
            elif line.get("event") == "trained":
                trained = line
        return trained

    def test(self, weights: Path) -> Mapping[str, float]:
        """Each task's metric on the test split, of a weights file loaded into the network."""
        (metrics,) = self._engine("evaluate", "--weights", str(weights))
        return metrics

    def _engine(self, command: str, *arguments: str) -> Iterator[Mapping[str, Any]]:
        """The lines that the engine prints; raises ExpungeError with its reason if it fails."""
        chosen = ("--workload", self.workload, "--options", json.dumps(dict(self.options)))
        words = (sys.executable, "-m", "engine", command, *chosen, "--watch-stdin", *arguments)
        self.folder.mkdir(parents=True, exist_ok=True)
        errors = self.folder / f"{command}.log"
        failure = ""
        with errors.open("wb") as log, _running(words, log) as process:
            assert process.stdout is not None
            for text in process.stdout:
                line = json.loads(text)
                if line.get("event") == "failure":
                    failure = line["message"]
                else:
                    yield line
            if process.wait():
                raise ExpungeError(
                    f"the engine's {command} failed: "
                    + (failure or f"exit code {process.returncode}, see {errors}")
                )


@contextmanager
def _running(words: tuple[str, ...], log: Any) -> Iterator[Process]:
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    process = spawn(words, environment, subprocess.PIPE, stderr=log, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        stop([process])
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
