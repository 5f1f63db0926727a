import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from expunge.errors import ExpungeError
from expunge.supervisor import Program, Supervisor

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


@contextmanager
def supervised(tmp_path: Path, *codes: str) -> Iterator[tuple[Supervisor, list[str]]]:
    said: list[str] = []
    programs = [Program(f"p{n}", (sys.executable, "-c", code)) for n, code in enumerate(codes)]
    supervisor = Supervisor(programs, tmp_path / "logs", os.environ, said.append)
    try:
        yield supervisor, said
    finally:
        supervisor.stop()


def step_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        supervisor.step()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_program_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with supervised(tmp_path, SLEEP) as (supervisor, said):
        supervisor.step()
        first = supervisor.pids["p0"]
        os.kill(first, signal.SIGKILL)
        step_until(supervisor, lambda: supervisor.pids.get("p0", first) != first)
        assert said == ["p0 ended by SIGKILL: starting it again in 1 s"]


def test_a_program_that_cannot_work_is_given_up_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expunge.supervisor._LONGEST_PAUSE", 0.01)
    with (
        supervised(tmp_path, "import sys; sys.exit('no such database')") as (supervisor, _),
        pytest.raises(ExpungeError, match=r"ended with code 1 5 times(.|\n)*no such database"),
    ):
        step_until(supervisor, lambda: False)


def test_stopping_leaves_nothing_even_of_those_who_do_not_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expunge.supervisor.stop.__defaults__", (1.0,))
    forks = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STUBBORN!r}])"
    with supervised(tmp_path, SLEEP, forks) as (supervisor, _):
        supervisor.step()
        parent = psutil.Process(supervisor.pids["p1"])
        step_until(supervisor, lambda: bool(parent.children()))
        processes = [psutil.Process(supervisor.pids["p0"]), parent, *parent.children()]
        time.sleep(0.5)  # until it ignores SIGTERM
        supervisor.stop()
        gone, alive = psutil.wait_procs(processes, timeout=5)
    assert len(gone) == 3
    assert not alive
    assert supervisor.pids == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's death")
def test_programs_do_not_outlive_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from expunge.processes import spawn; import os\n"
        f"child = spawn((sys.executable, '-c', {SLEEP!r}), os.environ, 1)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        (sys.executable, "-c", code), stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        gone, _ = psutil.wait_procs([child], timeout=10)
    assert gone
