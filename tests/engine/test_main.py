"""The engine as a process: what it prints, and how it ends."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Plugin = Callable[[str], None]


def _engine(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "engine", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def _last_line(output: str) -> Any:
    return json.loads(output.splitlines()[-1])


def _spec(path: Path, **fields: Any) -> Path:
    path.write_text(json.dumps({"job_id": "job_1", "staging": str(path.parent / "out"), **fields}))
    return path


LONG_TRAINING: Sequence[str] = (
    "train", "--workload", "digits", "--options", '{"epochs": 100000}', "--json", "--out",
)  # fmt: skip


def test_a_description_is_written_to_the_staging_folder(tmp_path: Path) -> None:
    spec = _spec(tmp_path / "spec.json", kind="describe", workload="digits")
    done = _engine(spec)
    assert done.returncode == 0, done.stderr
    description = json.loads((tmp_path / "out" / "description.json").read_text())
    assert [task["name"] for task in description["tasks"]] == ["digit", "parity", "magnitude"]


def test_train_then_evaluate_by_hand(tmp_path: Path) -> None:
    chosen = ("--workload", "digits", "--options", '{"epochs": 3, "hidden": 32}', "--threads", "1")
    trained = _engine("train", *chosen, "--json", "--out", tmp_path)
    assert trained.returncode == 0, trained.stderr
    lines = [json.loads(line) for line in trained.stdout.splitlines()]
    assert lines[0] == {
        "event": "progress", "phase": "train", "step": 0, "of": 66, "eta_seconds": None,
    }  # fmt: skip
    assert lines[-2]["step"] == 66
    assert lines[-1]["event"] == "trained"
    evaluated = _engine("evaluate", *chosen, "--weights", tmp_path / "weights.safetensors")
    assert evaluated.returncode == 0, evaluated.stderr
    assert set(_last_line(evaluated.stdout)) == {"digit", "parity", "magnitude"}


def test_evaluate_shows_further_metrics_where_a_task_has_them(tmp_path: Path) -> None:
    options = '{"epochs": 1, "size": 8, "resolution": 16, "width": 8}'
    chosen = ("--workload", "scenes", "--options", options, "--threads", "1")
    trained = _engine("train", *chosen, "--json", "--out", tmp_path)
    assert trained.returncode == 0, trained.stderr
    evaluated = _engine("evaluate", *chosen, "--weights", tmp_path / "weights.safetensors")
    found = _last_line(evaluated.stdout)
    assert set(found) == {"segmentation", "depth", "normals", "extra_metrics"}
    assert set(found["extra_metrics"]) == {"depth", "normals"}
    assert 0 <= found["extra_metrics"]["depth"]["delta1"] <= 1


def test_workloads_are_listed_with_their_versions() -> None:
    listed = json.loads(_engine("workloads").stdout)
    assert {"arrays", "digits", "scenes"} <= set(listed)


def test_help_names_the_commands() -> None:
    done = _engine("--help")
    assert done.returncode == 0
    for command in ("run", "train", "evaluate", "workloads"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"kind": "describe", "workload": "nyu"}, "WorkloadError", "'nyu' is not installed"),
        ({"kind": "describe"}, "InvalidSpec", "spec.json, describe.workload: Field required"),
        ({"kind": "sing"}, "InvalidSpec", "sing"),
    ],
)
def test_a_failure_that_can_be_named_is_the_last_line_and_code_3(
    tmp_path: Path, fields: dict[str, str], kind: str, message: str
) -> None:
    done = _engine(_spec(tmp_path / "spec.json", **fields))
    assert done.returncode == 3
    failure = _last_line(done.stdout)
    assert (failure["event"], failure["type"]) == ("failure", kind)
    assert message in failure["message"]
    assert "Traceback" not in done.stderr


def test_a_missing_specification_is_code_3(tmp_path: Path) -> None:
    done = _engine(tmp_path / "none.json")
    assert done.returncode == 3
    assert "No such file" in _last_line(done.stdout)["message"]


def test_an_exception_of_the_workload_is_code_3_with_the_line_that_raised_it(
    tmp_path: Path, install_workload: Plugin
) -> None:
    install_workload(
        "class Theirs:\n"
        " tasks = {'only': type('Only', (), {'name': 'only'})}\n"
        " def build_model(self):\n"
        "  raise LookupError('first\\nsecond')\n"
    )
    done = _engine(_spec(tmp_path / "spec.json", kind="describe", workload="theirs"))
    assert done.returncode == 3
    assert _last_line(done.stdout) == {
        "event": "failure",
        "type": "WorkloadError",
        "message": "the workload's build_model raised LookupError: first (their_plugin.py, line 4)",
    }
    assert "Traceback" not in done.stderr


def test_an_unexpected_exception_is_code_4_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "description.json").mkdir()
    spec = _spec(tmp_path / "spec.json", kind="describe", workload="digits", staging=str(tmp_path))
    done = _engine(spec)
    assert done.returncode == 4
    failure = _last_line(done.stdout)
    assert (failure["event"], failure["type"]) == ("failure", "IsADirectoryError")
    assert "Traceback" in done.stderr


def test_sigterm_ends_it_promptly_with_143(tmp_path: Path) -> None:
    process = _start(*LONG_TRAINING, str(tmp_path))
    assert process.stdout is not None
    process.stdout.readline()
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert time.monotonic() - started < 5


def test_it_ends_when_its_parent_closes_standard_input(tmp_path: Path) -> None:
    process = _start(*LONG_TRAINING, str(tmp_path), "--watch-stdin", stdin=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.communicate()
    assert process.returncode == 5
