"""`expunge up` as its users run it: a real process tree, on a state folder of the test."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from expunge import Client
from expunge.state import read_connection

QUICK: Mapping[str, str] = {
    "EXPUNGE_LEASE_SECONDS": "3",
    "EXPUNGE_HEARTBEAT_SECONDS": "0.5",
    "EXPUNGE_POLL_SECONDS": "0.1",
    "EXPUNGE_RETRY_SECONDS": "0",
    "EXPUNGE_TORCH_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Tree:
    """A running `expunge up`."""

    url: str
    api_key: str
    state: Path
    process: subprocess.Popen[str]

    def client(self) -> Client:
        return Client(self.url, self.api_key)

    def members(self) -> list[psutil.Process]:
        """It and everything below it, at this moment."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def running(self, *words: str) -> list[psutil.Process]:
        """Those whose command line ends with these words."""
        found = []
        for process in self.members():
            with suppress(psutil.NoSuchProcess):  # also one that has ended and waits to be reaped
                if tuple(process.cmdline()[-len(words) :]) == words:
                    found.append(process)
        return found

    def interrupt(self) -> list[psutil.Process]:
        """Ctrl-C; what is still alive a while afterwards."""
        members = self.members()
        self.process.send_signal(signal.SIGINT)
        return psutil.wait_procs(members, timeout=20)[1]


def environment(**settings: str) -> dict[str, str]:
    """Of a fresh shell: nothing of the test's own settings, short times."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("EXPUNGE_")}
    return {**clean, **QUICK, **settings}


@contextmanager
def up(state: Path, *options: str, **settings: str) -> Iterator[Tree]:
    """`expunge up` on a free port, until the block ends; then nothing of it is left."""
    words = (sys.executable, "-m", "expunge", "--state", str(state), "up", "--port", "0", "--json")
    state.mkdir(parents=True, exist_ok=True)
    with (state / "up.err").open("w") as errors:
        process = subprocess.Popen(
            (*words, *options),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(**settings),
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (state / "up.err").read_text()
        connection = read_connection(state)
        assert connection is not None
        assert json.loads(line)["url"] == connection.url
        yield Tree(connection.url, connection.api_key or "", state, process)
    finally:
        members = []
        if process.poll() is None:
            members = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(30)
        process.stdout.close()
        _gone, alive = psutil.wait_procs(members, timeout=5)
        assert not alive, f"left running: {alive}"
