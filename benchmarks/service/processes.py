"""The processes that are measured: one uvicorn each, on a free port of the loopback."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

OURS = "app.main:create_app"
_PATIENCE = 60.0


@dataclass(frozen=True)
class Server:
    """A process that answers."""

    port: int
    process: psutil.Process

    @property
    def processor_seconds(self) -> float:
        """What it has worked since its start."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    @property
    def resident_bytes(self) -> int:
        """The memory that it and its children hold."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(one.memory_info().rss for one in family)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def uvicorn(factory: str, port: int) -> list[str]:
    """The command that serves an application, as `expunge up` gives it."""
    return [
        *(sys.executable, "-m", "uvicorn", "--factory", factory, "--host", "127.0.0.1"),
        *("--port", str(port), "--log-level", "warning", "--no-access-log"),
    ]


@contextmanager
def serving(
    command: Sequence[str], port: int, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server, once it listens; it ends with the context."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield Server(port, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise OSError(f"a server ended with the exit code {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.002)
    raise OSError(f"nothing listens on port {port} after {_PATIENCE:g} seconds")
