"""One engine run as a child process: started, listened to, limited, ended, never left behind.

The child leads its own process group, so that ending it ends whatever it started. Its standard
input is a pipe that only this process holds open: `--watch-stdin` ends the engine when it closes,
which is what happens when this process is killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from threading import Thread
from typing import IO

from pydantic import ValidationError

from engine.spec import ENGINE_LINE, Failure, Progress

_LOG_BYTES = 64 * 1024
_LINE_BYTES = 64 * 1024
"""Longer lines on standard output are not the engine's."""
_LOOK_SECONDS = 0.1
_DRAIN_SECONDS = 5.0
"""A process that left the group may hold the pipes open; we do not wait for it."""


class End(Enum):
    """Why a run ended."""

    EXITED = auto()
    """By itself, well or badly."""
    TIMED_OUT = auto()
    CANCELLED = auto()
    LOST = auto()
    """The job belongs to another worker."""
    STOPPED = auto()
    """This worker shuts down."""


@dataclass(frozen=True)
class Limits:
    """What an engine run may take."""

    seconds: float
    memory_bytes: int | None
    grace_seconds: float
    """Between SIGTERM and SIGKILL."""


@dataclass(frozen=True)
class Run:
    """How a child process ended."""

    end: End
    exit_code: int
    """As `subprocess` has it: negative for a signal."""
    failure: Failure | None
    log: str
    """The end of what it wrote to standard error."""


def engine_command(spec: Path, processes: int = 1) -> list[str]:
    """The engine on one specification, in this interpreter's environment.

    Several processes are started by torch's own launcher.
    """
    engine = ["-m", "engine", "run", "--watch-stdin", str(spec)]
    if processes == 1:
        return [sys.executable, *engine]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, *launcher, *engine]


def engine_environment(mine: Mapping[str, str]) -> dict[str, str]:
    """The variables that a workload may see: not the service's own, which hold its secrets."""
    return {name: value for name, value in mine.items() if not name.startswith("EXPUNGE_")}


def supervise(
    command: Sequence[str],
    environment: Mapping[str, str],
    limits: Limits,
    on_progress: Callable[[Progress], None],
    asked_to_end: Callable[[], End | None],
) -> Run:
    """Run the command to its end, or until `asked_to_end` or the clock says so.

    `on_progress` is called from another thread.
    """
    child = subprocess.Popen(
        _limited(command, limits.memory_bytes),
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    lines, log = _Lines(child.stdout, on_progress), _Tail(child.stderr)
    deadline = time.monotonic() + limits.seconds
    end: End | None = None
    try:
        while end is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_LOOK_SECONDS)
                end = End.EXITED
                break
            end = asked_to_end() or (End.TIMED_OUT if time.monotonic() > deadline else None)
    finally:
        _end_group(child, limits.grace_seconds)
        child.stdin.close()
        lines.join(_DRAIN_SECONDS)
        log.join(_DRAIN_SECONDS)
    return Run(end, child.returncode, lines.failure, log.text())


def _limited(command: Sequence[str], memory_bytes: int | None) -> list[str]:
    """The command under a limit set by the shell: code between fork and exec is not safe here."""
    if memory_bytes is None:
        return list(command)
    script = 'ulimit -v "$0" && exec "$@"'
    return ["/bin/sh", "-c", script, str(memory_bytes // 1024), *command]


def _end_group(child: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """End the child and everything that it started, politely first."""
    if child.poll() is None:
        _signal_group(child, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace_seconds)
    _signal_group(child, signal.SIGKILL)  # also what outlived its leader
    child.wait()


def _signal_group(child: subprocess.Popen[bytes], which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, which)


class _Lines(Thread):
    """Reads the engine's standard output: its progress, and why it failed."""

    def __init__(self, stream: IO[bytes], on_progress: Callable[[Progress], None]) -> None:
        super().__init__(name="engine-stdout", daemon=True)
        self.failure: Failure | None = None
        self._stream = stream
        self._on_progress = on_progress
        self.start()

    def run(self) -> None:
        with self._stream:
            while raw := self._stream.readline(_LINE_BYTES):
                try:
                    line = ENGINE_LINE.validate_json(raw)
                except ValidationError:
                    continue  # a workload may print what it likes
                if isinstance(line, Failure):
                    self.failure = line
                else:
                    self._on_progress(line)


class _Tail(Thread):
    """Reads standard error and keeps its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(name="engine-stderr", daemon=True)
        self._stream = stream
        self._kept = b""
        self.start()

    def run(self) -> None:
        with self._stream:
            while some := self._stream.read1(_LOG_BYTES):  # type: ignore[attr-defined]
                self._kept = (self._kept + some)[-_LOG_BYTES:]

    def text(self) -> str:
        """What was kept; bytes that are not UTF-8 and NULs, which no database takes, replaced."""
        return self._kept.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
