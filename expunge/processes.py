"""Child processes that never outlive this one.

Each gets a process group of its own, so that a Ctrl-C in the terminal reaches its parent alone, who
then stops it in order. On Linux the kernel sends it SIGTERM when the parent is killed.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Final

Process = subprocess.Popen[bytes]

GRACE: Final = 8.0
"""Seconds from SIGTERM to SIGKILL."""
_PR_SET_PDEATHSIG: Final = 1


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    stdout: IO[Any] | int,
    stderr: IO[Any] | int = subprocess.STDOUT,
    stdin: int = subprocess.DEVNULL,
) -> Process:
    """Start a program; call it only while this process has a single thread."""
    return subprocess.Popen(
        command,
        env=dict(environment),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        process_group=0,
        preexec_fn=_end_with_parent() if sys.platform == "linux" else None,  # noqa: PLW1509
    )


def stop(processes: Sequence[Process], grace: float = GRACE) -> list[Process]:
    """End programs: SIGTERM to each group, then SIGKILL; those that needed the latter."""
    stubborn = []
    for process in processes:
        signal_group(process, signal.SIGTERM)
    until = time.monotonic() + grace
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            stubborn.append(process)
        signal_group(process, signal.SIGKILL)  # also what it may have left behind
        process.wait()
    return stubborn


def signal_group(process: Process, number: signal.Signals) -> None:
    """Signal every process of the program's group that still lives."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _end_with_parent() -> Callable[[], None]:
    parent = os.getpid()
    libc = ctypes.CDLL(None)  # loaded before the fork: little is safe between fork and exec

    def end_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return end_with_parent
