"""Whatever is wrong, a run ends with one sentence, no result, and the parent as it was."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from breakable_workload import BreakableWorkload
from engine.__main__ import main
from engine.spec import RESULT_FILE, WEIGHTS_FILE, JobResult
from engine.train import MANIFEST_FILE, train_from_scratch

SETTINGS = {"rounds": 1, "min_steps": 4, "steps_per_instance": 0.1, "check_every": 2}
NAMED, PERHAPS_NOT_AGAIN = 3, 4


@pytest.fixture(autouse=True)
def _same_handler_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def plugin(install_workload: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The breakable workload under the name `theirs`, for this process and for others."""
    install_workload("from breakable_workload import BreakableWorkload as Theirs\n")
    support = Path(__file__).parents[1] / "support"
    monkeypatch.setenv("PYTHONPATH", str(support), prepend=os.pathsep)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights and the manifest of a first version."""
    folder = tmp_path_factory.mktemp("parent")
    train_from_scratch(BreakableWorkload(), 0, folder, lambda *_: None)
    return folder


def write_spec(parent: Path, folder: Path, **changes: Any) -> Path:
    """A job that forgets the first twelve instances, unless told otherwise."""
    request = {
        "request_id": "req_1",
        "instances": [f"train-{number}" for number in range(12)],
        "tasks": ["left", "right"],
    }
    spec = {
        "kind": "unlearn",
        "job_id": "job_1",
        "workload": "theirs",
        "parent_weights": str(parent / WEIGHTS_FILE),
        "manifest": str(parent / MANIFEST_FILE),
        "requests": [request | changes.pop("request", {})],
        "settings": SETTINGS,
        "staging": str(folder / "staging"),
        **changes,
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def failure(
    plugin: None, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    """Runs a job that cannot succeed; the type and the sentence that it ends with."""

    def run(**changes: Any) -> tuple[str, str]:
        staging = tmp_path / "staging"
        staging.mkdir(exist_ok=True)
        (staging / RESULT_FILE).write_text("of an earlier attempt")
        before = sha256(parent / WEIGHTS_FILE)
        code = main([str(write_spec(parent, tmp_path, **changes))])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        assert sha256(parent / WEIGHTS_FILE) == before
        assert not (staging / RESULT_FILE).exists()
        last = json.loads(printed.out.splitlines()[-1])
        assert last["event"] == "failure"
        assert "\n" not in last["message"]
        # The service tries again where the next attempt may find what this one lacked.
        assert code == (PERHAPS_NOT_AGAIN if last["type"] == "WorkloadUnavailable" else NAMED)
        return last["type"], last["message"]

    return run


Fail = Callable[..., tuple[str, str]]


def test_the_workload_is_sound_where_nothing_is_broken(
    plugin: None, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write_spec(parent, tmp_path))]) == 0
    assert (tmp_path / "staging" / RESULT_FILE).exists()
    assert "failure" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("loss nan", "Diverged", "a loss of task 'right' became NaN or infinite"),
        ("loss raises", "WorkloadError", "the loss of task 'right' raised LookupError: no loss ("),
        ("loss reduced", "WorkloadError", "the loss of task 'right' has shape () for"),
        ("loss a number", "WorkloadError", "the loss of task 'right' is a float"),
        ("loss cut off", "WorkloadError", "cannot be differentiated"),
        ("metric raises", "WorkloadError", "new_metric raised LookupError (breakable_workload.py"),
        ("output missing", "WorkloadError", "no output for task 'right', only for: 'left'"),
        ("output short", "WorkloadError", "the output of task 'right' has shape"),
        ("output no mapping", "WorkloadError", "the network gave a Tensor; it must give a mapping"),
        ("target missing", "WorkloadError", "no target for task 'right', only for: 'left'"),
        ("forward raises", "WorkloadError", "the network raised ZeroDivisionError: no way forward"),
        ("batch raises", "WorkloadUnavailable", "raised FileNotFoundError: image 7 is gone"),
        (
            "instances raise",
            "WorkloadUnavailable",
            "instances('train') raised PermissionError: the share",
        ),
        (
            "build raises",
            "WorkloadUnavailable",
            "build_model raised MemoryError (breakable_workload.py,",
        ),
        ("build no module", "WorkloadError", "build_model gave a list, which is no torch module"),
        ("ids twice", "WorkloadError", "train split has 60 instances but only 59 different ids"),
        ("subjects short", "WorkloadError", "train split has 60 instances but 59 subjects"),
        ("supervision no bool", "WorkloadError", "it must be torch.bool [60, 2], one row"),
        ("task misnamed", "WorkloadError", "the task under the key 'right' calls itself 'wrong'"),
        ("no tasks", "WorkloadError", "the workload has no task"),
    ],
)
def test_a_broken_workload_is_told_what_is_broken(
    failure: Fail, fault: str, kind: str, words: str
) -> None:
    found, message = failure(workload_options={"fault": fault})
    assert (found, words in message) == (kind, True), message


@pytest.mark.parametrize("method", ["finetune", "ssd", "interference_aware_paper"])
def test_other_methods_end_the_same_way(failure: Fail, method: str) -> None:
    fault = {"fault": "loss nan"}
    assert failure(workload_options=fault, method=method, settings={})[0] == "Diverged"


def test_a_recipe_that_refuses_says_why(failure: Fail) -> None:
    fault = {"fault": "train raises"}
    kind, message = failure(workload_options=fault, method="retrain", settings={})
    assert kind == "WorkloadError"
    assert "train raised NotImplementedError: nobody may train this again (break" in message


EVERYONE = [f"train-{number}" for number in range(60)]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"instances": []}, "request req_1 has an empty forget set"),
        ({"tasks": []}, "request req_1 has an empty forget set"),
        ({"instances": EVERYONE}, "nothing would be left to teach the model"),
        ({"instances": ["train-60"]}, "instance 'train-60' of request req_1 cannot be found"),
        ({"tasks": ["middle"]}, "unknown task 'middle'; the workload's tasks are: left, right"),
    ],
)
def test_an_impossible_request_is_refused(
    failure: Fail, request_: dict[str, list[str]], words: str
) -> None:
    kind, message = failure(request=request_)
    assert (kind, words in message) == ("InvalidSpec", True), message


@pytest.mark.parametrize("options", [{"unlabelled": ["right"]}, {"held_out": 0}])
def test_a_task_without_held_out_data_cannot_be_calibrated(
    failure: Fail, options: dict[str, Any]
) -> None:
    kind, message = failure(workload_options=options)
    assert kind == "InvalidSpec"
    assert "has no held-out instance to calibrate on: give the workload a validation" in message


@pytest.mark.parametrize(
    ("held_out", "method", "settings"),
    [
        (24, "interference_aware", SETTINGS | {"learning_rate": 1e-6}),
        (0, "retrain", {}),
        (1, "retrain", {}),
    ],
)
def test_fewer_than_twenty_held_out_instances_leave_the_verdict_open(
    plugin: None,
    parent: Path,
    tmp_path: Path,
    held_out: int,
    method: str,
    settings: dict[str, Any],
) -> None:
    options = {"held_out": held_out}
    changes = {"workload_options": options, "method": method, "settings": settings}
    assert main([str(write_spec(parent, tmp_path, **changes))]) == 0
    result = JobResult.model_validate_json((tmp_path / "staging" / RESULT_FILE).read_text())
    judging = held_out // 2
    words = f"nly {judging} held-out instances to compare with, of 20 needed"
    if not judging:
        words = "No held-out instance to compare with"
    for cell in result.audit.cells:
        assert cell.verdict == "inconclusive"
        assert words in cell.reason


def _without(tensors: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != key}


FIRST = "network.backbone.0.bias"
CHECKPOINTS: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "a key too few": (lambda t: _without(t, FIRST), f"tensor '{FIRST}' is missing (1 in all)"),
    "a key too many": (
        lambda t: t | {"more": torch.ones(1)},
        "tensor 'more' is not part of the netw",
    ),
    "another shape": (lambda t: t | {FIRST: torch.zeros(5)}, f"tensor '{FIRST}' is F32 [5] in"),
    "another type": (lambda t: t | {FIRST: t[FIRST].double()}, f"tensor '{FIRST}' is F64 [16] in"),
    "not finite": (lambda t: t | {FIRST: t[FIRST] * torch.nan}, "holds a value that is NaN"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_weights_of_another_network_are_refused(
    failure: Fail, parent: Path, tmp_path: Path, name: str
) -> None:
    change, words = CHECKPOINTS[name]
    other = tmp_path / "other.safetensors"
    save_file(change(load_file(parent / WEIGHTS_FILE)), other)
    before = sha256(other)
    kind, message = failure(parent_weights=str(other))
    assert (kind, words in message) == ("CheckpointError", True), message
    assert sha256(other) == before


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{}", None])
def test_a_damaged_file_of_weights_is_refused(
    failure: Fail, parent: Path, tmp_path: Path, content: bytes | None
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    whole = (parent / WEIGHTS_FILE).read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2] if content is None else content)
    kind, message = failure(parent_weights=str(damaged))
    assert kind == "CheckpointError"
    assert "damaged.safetensors is not a readable safetensors file" in message


def test_weights_that_are_not_there_or_no_file_are_refused(failure: Fail, tmp_path: Path) -> None:
    assert failure(parent_weights=str(tmp_path / "none"))[0] == "CheckpointError"
    assert failure(parent_weights=str(tmp_path))[0] == "CheckpointError"


def test_the_parent_is_never_written_over(
    plugin: None, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sha256(parent / WEIGHTS_FILE)
    assert main([str(write_spec(parent, tmp_path, staging=str(parent)))]) == NAMED
    assert "would be written over the parent's" in capsys.readouterr().out
    assert sha256(parent / WEIGHTS_FILE) == before


def test_a_staging_folder_that_cannot_be_made_is_refused(
    plugin: None, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    inside = str(tmp_path / "file" / "staging")
    assert main([str(write_spec(parent, tmp_path, staging=inside))]) == NAMED
    assert "cannot be used: Not a directory" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("loss nan", "Diverged", NAMED),
        ("loss raises", "WorkloadError", NAMED),
        ("build raises", "WorkloadUnavailable", PERHAPS_NOT_AGAIN),
    ],
)
def test_a_process_of_its_own_ends_the_same_way(
    plugin: None, parent: Path, tmp_path: Path, fault: str, kind: str, code: int
) -> None:
    spec = write_spec(parent, tmp_path, workload_options={"fault": fault})
    done = subprocess.run(
        [sys.executable, "-m", "engine", str(spec)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["type"] == kind
