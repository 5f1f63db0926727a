"""`expunge up`: the whole service on one machine, as one supervised tree of processes.

The database is migrated, an admin key is made and kept in the state folder, and the HTTP service
and a worker run until Ctrl-C or SIGTERM. Nothing outlives this process.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from expunge.client import Client
from expunge.errors import ExpungeError, Unauthorized, Unreachable
from expunge.state import Connection, locked, read_connection, write_connection
from expunge.supervisor import Program, Supervisor, last_lines

OnReady = Callable[[Connection, Mapping[str, int]], None]
"""Called once, with the way in and the process ids of the programs."""

_SECONDS_TO_START: Final = 120.0
_TICK: Final = 0.1


def up(
    state: Path,
    host: str,
    port: int,
    *,
    celery: bool,
    say: Callable[[str], None],
    on_ready: OnReady,
) -> None:
    """Run the service until SIGINT or SIGTERM; `port` 0 takes a free one.

    Raises ExpungeError if it cannot start, or if a part of it keeps ending.
    """
    state = state.absolute()
    with locked(state), _stop_signals() as stopped:
        port = _free_port(host, port)
        url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
        environment = _environment(state, host, port, url)
        say("bringing the database up to date")
        _run_app(environment, "db", "upgrade")
        api_key = _former_key(state) or _new_key(environment)
        programs = _programs(host, port, environment, celery=celery)
        supervisor = Supervisor(programs, state / "logs", environment, say)
        say("starting " + ", ".join(program.name for program in programs))
        try:
            _until_ready(supervisor, url, state / "logs" / "api.log", stopped)
            if not stopped:
                connection = Connection(url, _accepted(url, api_key, environment))
                write_connection(state, connection)
                on_ready(connection, supervisor.pids)
            while not stopped:
                supervisor.step()
                time.sleep(_TICK)
            say("stopping")
        finally:
            supervisor.stop()


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that fills when somebody asks this process to stop."""
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    former = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _free_port(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ExpungeError(
                f"cannot listen on port {port} of {host} ({reason}): "
                "give another one with --port, or --port 0 for any free one"
            ) from None
        return int(probe.getsockname()[1])


def _environment(state: Path, host: str, port: int, url: str) -> dict[str, str]:
    return {
        "EXPUNGE_PUBLIC_URL": url,
        # One host, one clock: a worker that was killed is missed soon.
        "EXPUNGE_LEASE_SECONDS": "15",
        "EXPUNGE_HEARTBEAT_SECONDS": "3",
        **os.environ,
        "EXPUNGE_STATE_DIR": str(state),
        "EXPUNGE_HOST": host,
        "EXPUNGE_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a folder `app` where this was started is not the service
    }


def _programs(
    host: str, port: int, environment: Mapping[str, str], *, celery: bool
) -> list[Program]:
    python = (sys.executable, "-m")
    api = Program("api", (*python, "expunge", "serve", "--host", host, "--port", str(port)))
    if not celery:
        return [api, Program("worker", (*python, "worker"))]
    if not environment.get("EXPUNGE_BROKER_URL"):
        raise ExpungeError("--celery needs a broker: set EXPUNGE_BROKER_URL to a Redis URL")
    return [
        api,
        Program("relay", (*python, "worker", "relay")),
        Program("worker", (*python, "worker", "celery")),
    ]


def _run_app(environment: Mapping[str, str], *arguments: str) -> str:
    """The standard output of one of the service's own commands."""
    done = subprocess.run(
        (sys.executable, "-m", "app", *arguments),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        process_group=0,  # a Ctrl-C stops it at its end, not in the middle
    )
    if done.returncode:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ExpungeError(told[-1] if told else f"`{' '.join(arguments)}` failed without a word")
    return done.stdout


def _former_key(state: Path) -> str | None:
    former = read_connection(state)
    return former.api_key if former else None


def _new_key(environment: Mapping[str, str]) -> str:
    made = _run_app(
        environment, "keys", "create", "--name", "expunge up", "--scopes", "admin", "--json"
    )
    return str(json.loads(made)["key"])


def _accepted(url: str, api_key: str, environment: Mapping[str, str]) -> str:
    """The key that was kept, or a new one if the database does not know it (any more)."""
    try:
        with Client(url, api_key) as client:
            client.keys.whoami()
    except Unauthorized:
        return _new_key(environment)
    return api_key


def _until_ready(supervisor: Supervisor, url: str, log: Path, stopped: list[int]) -> None:
    until = time.monotonic() + _SECONDS_TO_START
    with Client(url, timeout=5) as client:
        while not stopped:
            supervisor.step()
            try:
                readiness = client.health.ready()
                # Without a worker no model can be made yet.
                workers = client.health.live_workers() if readiness.status == "ok" else 0
            except Unreachable:
                problem = "it does not answer"
            else:
                if readiness.status != "ok":
                    problem = f"it is not ready: {json.dumps(dict(readiness.checks))}"
                elif workers == 0:
                    problem = "no worker has shown itself"
                else:
                    return
            if time.monotonic() > until:
                raise ExpungeError(
                    f"the service did not start within {_SECONDS_TO_START:g} s: {problem}; the "
                    f"last lines of {log}:\n{last_lines(log)}"
                )
            time.sleep(_TICK)
