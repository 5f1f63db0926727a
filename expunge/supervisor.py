"""A few programs kept running side by side, and stopped together.

Each writes to a log file of its own. One that ends is started again, a little later each time; one
that keeps ending at once makes the supervisor give up.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from expunge.errors import ExpungeError
from expunge.processes import Process, signal_group, spawn, stop

_QUICK: Final = 10.0
"""Seconds: a program that ends sooner than this after its start could not work."""
_QUICK_DEATHS: Final = 5
_LONGEST_PAUSE: Final = 8.0
_LAST_LINES: Final = 12


@dataclass(frozen=True)
class Program:
    """What to run."""

    name: str
    command: Sequence[str]


@dataclass
class _Child:
    program: Program
    log: Path
    process: Process | None = None
    started: float = 0.0
    quick_deaths: int = 0
    start_at: float = field(default_factory=time.monotonic)


class Supervisor:
    """Runs programs until told to stop."""

    def __init__(
        self,
        programs: Sequence[Program],
        logs: Path,
        environment: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        """`logs` is the folder of the log files; `say` tells people what happened."""
        logs.mkdir(parents=True, exist_ok=True)
        self._children = [_Child(p, logs / f"{p.name}.log") for p in programs]
        self._environment = dict(environment)
        self._say = say

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of what runs now, by program."""
        return {c.program.name: c.process.pid for c in self._children if c.process}

    def step(self) -> None:
        """Start what is due and notice what ended; to be called several times a second.

        Raises ExpungeError, with the last lines of its log, for a program that keeps ending.
        """
        now = time.monotonic()
        for child in self._children:
            if child.process is None and now >= child.start_at:
                self._start(child)
            elif child.process is not None and child.process.poll() is not None:
                self._ended(child, child.process.returncode)

    def stop(self) -> None:
        """End everything that runs, within seconds."""
        for process in stop([c.process for c in self._children if c.process is not None]):
            self._say(f"process {process.pid} did not stop by itself: killed")
        for child in self._children:
            child.process = None

    def _start(self, child: _Child) -> None:
        with child.log.open("ab") as log:
            child.process = spawn(child.program.command, self._environment, log)
        child.started = time.monotonic()

    def _ended(self, child: _Child, code: int) -> None:
        assert child.process is not None
        signal_group(child.process, signal.SIGKILL)  # what it may have left behind
        child.process = None
        lived = time.monotonic() - child.started
        child.quick_deaths = child.quick_deaths + 1 if lived < _QUICK else 0
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        name = child.program.name
        if child.quick_deaths >= _QUICK_DEATHS:
            raise ExpungeError(
                f"{name} ended {how} {_QUICK_DEATHS} times in a row, each within {_QUICK:g} s of "
                f"its start; the last lines of {child.log}:\n{last_lines(child.log)}"
            )
        seconds = min(0.5 * 2.0**child.quick_deaths, _LONGEST_PAUSE) if lived < _QUICK else 0.0
        child.start_at = time.monotonic() + seconds
        self._say(f"{name} ended {how}: starting it again" + (f" in {seconds:g} s" * bool(seconds)))


def last_lines(file: Path, count: int = _LAST_LINES) -> str:
    """The end of a log, indented."""
    try:
        with file.open(errors="replace") as lines:
            return "".join(f"  {line}" for line in deque(lines, count)).rstrip()
    except OSError:
        return "  (no log)"
