"""The service that the demo talks to: an `expunge up` of its own, or one that runs already."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expunge.errors import ExpungeError
from expunge.processes import spawn, stop
from expunge.state import Connection, in_use, read_connection
from expunge.supervisor import last_lines


@contextmanager
def service(state: Path, port: int) -> Iterator[tuple[Connection, str]]:
    """The way into a service on this state folder, and how it came to run."""
    running = read_connection(state) if in_use(state) else None
    if running is not None:
        yield running, "already running, left alone"
        return
    log = state / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = (sys.executable, "-m", "expunge", "--state", str(state), "up")
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    with log.open("wb") as errors:
        process = spawn(
            (*words, "--port", str(port), "--json"), environment, subprocess.PIPE, stderr=errors
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise ExpungeError(f"the service did not start:\n{last_lines(log)}")
        connection = read_connection(state)
        assert connection is not None, "`expunge up` writes it before it says that it is ready"
        names = ", ".join(json.loads(line)["processes"])
        yield connection, f"{names}: started and supervised by process {process.pid}"
    finally:
        stop([process], grace=20)
        process.stdout.close()
