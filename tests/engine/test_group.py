"""A job on two processes, as `torchrun` starts them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.group import ALONE, Group
from engine.spec import RESULT_FILE, WEIGHTS_FILE, RequestCells

TASKS = ("digit", "parity", "magnitude")


def carry_out(command: list[str], digits: Any, folder: Path, **changes: Any) -> dict[str, Any]:
    """Run a job by `command`; its result, with the weights it left."""
    ids = digits.workload.instances("train").ids
    request = RequestCells(request_id="req_1", instances=tuple(ids[:30]), tasks=TASKS[:2])
    spec = {
        "kind": "unlearn",
        "job_id": "job_1",
        "workload": "digits",
        "parent_weights": str(digits.folder / WEIGHTS_FILE),
        "manifest": str(digits.folder / "manifest.jsonl"),
        "requests": [request.model_dump(mode="json")],
        "settings": {"rounds": 1, "min_steps": 12, "check_every": 4, "retain_batch": 33},
        "threads": 1,
        "staging": str(folder),
        **changes,
    }
    folder.mkdir()
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    ended = subprocess.run(
        [*command, "-m", "engine", str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    if ended.returncode:
        return {"failures": [line for line in lines if line["event"] == "failure"]}
    result: dict[str, Any] = json.loads((folder / RESULT_FILE).read_text())
    return result | {"tensors": load_file(folder / WEIGHTS_FILE), "lines": lines}


def torchrun(processes: int) -> list[str]:
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(processes)),
    ]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(digits: Any, tmp_path: Path) -> None:
    alone = carry_out([sys.executable], digits, tmp_path / "one")
    together = carry_out(torchrun(2), digits, tmp_path / "two")
    assert together["gradient_evaluations"] == alone["gradient_evaluations"]
    parent = load_file(digits.folder / WEIGHTS_FILE)
    for name, expected in alone["tensors"].items():
        moved = (expected - parent[name]).norm()
        assert moved > 0
        # Sums in another order round otherwise, and steps carry that on; the last bit that is kept
        # of a change, which may go either way by it, is up to 1/64 of the change.
        assert (together["tensors"][name] - expected).norm() < 0.03 * moved, name
    before, after = alone["audit"], together["audit"]
    assert after["uis_after"] == pytest.approx(before["uis_after"], abs=1.5)
    # The first process alone tells how far the job is.
    phases = [line["phase"] for line in together["lines"] if line["event"] == "progress"]
    assert phases == sorted(phases, key=["load", "unlearn", "audit", "write"].index)


@pytest.mark.slow
def test_a_failure_of_two_processes_ends_both(digits: Any, tmp_path: Path) -> None:
    found = carry_out(torchrun(2), digits, tmp_path / "two", settings={"pace": 3})
    assert {line["type"] for line in found["failures"]} == {"InvalidSpec"}


def test_every_instance_of_a_batch_is_somebodys() -> None:
    shares = [Group(rank, 3).share(8).tolist() for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4, 7], [2, 5]]
    assert Group(2, 3).share(2).tolist() == []
    assert ALONE.share(3).tolist() == [0, 1, 2]


def test_alone_there_is_nobody_to_ask() -> None:
    tensor = torch.tensor([1.0, 2.0])
    assert ALONE.total(tensor) is tensor
    assert ALONE.agreed(lambda: "found") == "found"
