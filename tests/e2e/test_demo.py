"""The demo as it is typed, on a network small enough for a test."""

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from expunge.state import in_use
from up_tree import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OPTIONS = json.dumps({"hidden": 32, "epochs": 10})


def demo(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (sys.executable, "-m", "expunge", "demo", *words),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_it_tells_the_whole_story_and_stops_what_it_started(tmp_path: Path) -> None:
    with demo(tmp_path, "--options", OPTIONS) as process:
        told, _ = process.communicate(timeout=500)
    assert process.returncode == 0, told
    for sentence in ("full-task request", "partial-task request", "signature holds", "6/6"):
        assert sentence in told
    assert "Traceback" not in told
    report = json.loads((tmp_path / ".expunge" / "demo.json").read_text())
    full, partial = report["requests"]
    assert (full["request"]["scope"], partial["request"]["scope"]) == ("full", "partial")
    assert {cell["task"] for cell in full["request"]["audit"]} == {"digit", "parity", "magnitude"}
    assert full["seconds"] > 0
    assert full["share_of_retraining"] > 0
    assert report["ledger"]["ok"]
    assert set(report["test"]["after"]) == {"digit", "parity", "magnitude"}
    assert len(report["receipts"]) == 2
    assert not in_use(tmp_path / ".expunge")


def trains(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # one that has ended since it was listed
        return "train" in process.cmdline()
    return False


def test_an_interrupt_leaves_nothing_running(tmp_path: Path) -> None:
    with demo(tmp_path, "--options", json.dumps({"epochs": 500})) as process:
        top = psutil.Process(process.pid)
        until = time.monotonic() + 120
        while not any(map(trains, top.children(recursive=True))):
            assert time.monotonic() < until
            time.sleep(0.1)
        members = top.children(recursive=True)
        assert len(members) == 4, "up, its two programs, and the training"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert psutil.wait_procs(members, timeout=10)[1] == []


def test_a_failed_step_ends_with_code_1_and_one_sentence(tmp_path: Path) -> None:
    with demo(tmp_path, "--options", '{"colour": "red"}') as process:
        told, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "Traceback" not in told
    assert told.rstrip().splitlines()[-1].startswith("expunge: the engine's train failed: ")
