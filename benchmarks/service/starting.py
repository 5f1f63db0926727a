"""What the service needs from its start to its first answer, against an empty application.

Of processor time, which other work on the machine disturbs least: starting waits for nothing else.
"""

import http.client
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.service import empty
from benchmarks.service.databases import Databases
from benchmarks.service.installation import install
from benchmarks.service.processes import OURS, free_port, serving, uvicorn
from benchmarks.service.rows import Row

MORE = 1.0
"""Seconds that the service may need more than an empty application."""
_LISTED = "import sys, app.main; app.main.create_app(); print('torch' in sys.modules)"


def measure(databases: Databases, folder: Path, *, turns: int) -> Iterator[Row]:
    """Started in turns, each time from nothing."""
    where = install(folder, databases.create(), instances=1)
    ours, its = list[float](), list[float]()
    for turn in range(turns + 1):
        mine, other = _start(OURS, where.environment), _start(empty.FACTORY, {})
        if turn:  # the first one reads the files from the disk
            ours.append(mine)
            its.append(other)
    torch = _imports_torch(where.environment)
    more = statistics.median(mine - other for mine, other in zip(ours, its, strict=True))
    yield Row(
        name="start to first answer, beyond an empty application",
        ours=more,
        reference=MORE,
        ratio=more / MORE,
        target=1.0,
        unit="s of processor time",
        section="start",
        note=f"{statistics.median(ours):.2f} s against {statistics.median(its):.2f} s of uvicorn"
        f" with an empty application; the service imports {'torch' if torch else 'no torch'}",
    )


def _start(factory: str, environment: Mapping[str, str]) -> float:
    port = free_port()
    with serving(uvicorn(factory, port), port, environment) as server:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"{factory} answered {answer.status}")
        answer.read()
        used = server.processor_seconds
        connection.close()
    return used


def _imports_torch(environment: Mapping[str, str]) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", _LISTED],
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip() == "True"
