"""Child processes that behave, misbehave and are ended, without an engine."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.spec import Progress
from worker.supervise import End, Limits, engine_environment, supervise

LIMITS = Limits(seconds=30, memory_bytes=None, grace_seconds=0.5)


def run(code: str, *arguments: str, limits: Limits = LIMITS, end_after: float | None = None):
    seen: list[Progress] = []
    started = time.monotonic()

    def asked() -> End | None:
        late = end_after is not None and time.monotonic() - started > end_after
        return End.CANCELLED if late else None

    ended = supervise([sys.executable, "-c", code, *arguments], {}, limits, seen.append, asked)
    return ended, seen


def test_progress_and_failure_are_heard_and_other_lines_are_not() -> None:
    ended, seen = run(
        "import sys\n"
        'print(\'{"event": "progress", "phase": "load", "step": 1, "of": 2}\')\n'
        'print("hello"); print("x" * 300_000)\n'
        'print(\'{"event": "failure", "type": "Diverged", "message": "loss is NaN"}\')\n'
        'print("last words", file=sys.stderr)\n'
        "sys.exit(3)"
    )
    assert seen == [Progress(phase="load", step=1, of=2)]
    assert ended.failure is not None
    assert ended.failure.message == "loss is NaN"
    assert (ended.end, ended.exit_code, ended.log) == (End.EXITED, 3, "last words\n")


def test_only_the_end_of_a_long_log_is_kept() -> None:
    ended, _ = run(r"import sys; sys.stderr.write('a' * 1_000_000 + '\0end')")
    assert len(ended.log) == 64 * 1024
    assert ended.log.endswith("\N{REPLACEMENT CHARACTER}end")


def test_a_run_over_its_time_is_ended() -> None:
    limits = Limits(seconds=0.3, memory_bytes=None, grace_seconds=5)
    started = time.monotonic()
    ended, _ = run("import time; time.sleep(60)", limits=limits)
    assert (ended.end, ended.exit_code) == (End.TIMED_OUT, -15)
    assert time.monotonic() - started < 5


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    ended, _ = run(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
        end_after=0.5,
    )
    assert (ended.end, ended.exit_code) == (End.CANCELLED, -9)


@pytest.mark.parametrize("leader_lives", [True, False])
def test_what_a_child_started_ends_with_it(tmp_path: Path, leader_lives: bool) -> None:
    note = tmp_path / "pid"
    run(
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid))\n"
        f"time.sleep({60 if leader_lives else 0})",
        str(note),
        end_after=1,
    )
    pid = int(note.read_text())
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} outlived its parent")


def test_memory_over_the_limit_is_refused() -> None:
    limits = Limits(seconds=30, memory_bytes=1 << 30, grace_seconds=1)
    ended, _ = run("bytearray(4 << 30)", limits=limits)
    assert ended.exit_code == 1
    assert "MemoryError" in ended.log


def test_standard_input_stays_open_while_the_parent_lives() -> None:
    ended, _ = run("import select, sys; sys.exit(bool(select.select([sys.stdin], [], [], 0.3)[0]))")
    assert ended.exit_code == 0


def test_the_engine_does_not_see_the_settings_of_the_service() -> None:
    mine = {"EXPUNGE_DATABASE_URL": "postgresql://secret", "PATH": "/bin"}
    assert engine_environment(mine) == {"PATH": "/bin"}
