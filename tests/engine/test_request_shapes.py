"""Every shape that a job's requests can have: as matrices of cells, and carried out."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from breakable_workload import BreakableWorkload
from engine.errors import InvalidSpec
from engine.manifest import Cells, resolve
from engine.run import run
from engine.spec import WEIGHTS_FILE, JobResult, JobSpec, ManifestEntry, RequestCells
from engine.train import MANIFEST_FILE, manifest_entries, train_from_scratch
from engine.workloads.digits import DigitsWorkload

TASKS = ("left", "right")
SETTINGS = {"rounds": 1, "min_steps": 10, "steps_per_instance": 0.1, "check_every": 5}

Request = tuple[Sequence[int], Sequence[str]]
"""Numbers of training instances, and tasks."""


def cells_of(requests: Sequence[RequestCells], entries: Sequence[ManifestEntry]) -> Cells:
    return resolve(entries, requests, BreakableWorkload().instances("train"), TASKS)


def named(requests: Sequence[Request]) -> tuple[RequestCells, ...]:
    return tuple(
        RequestCells(
            request_id=f"req_{number}",
            instances=tuple(f"train-{row}" for row in rows),
            tasks=tuple(tasks),
        )
        for number, (rows, tasks) in enumerate(requests, start=1)
    )


def after(entries: Sequence[ManifestEntry], cells: Cells) -> list[ManifestEntry]:
    """The manifest of the version that a job leaves."""
    gone = cells.forget | cells.earlier
    return [
        entry.model_copy(
            update={
                "tasks": tuple(t for t, left in zip(TASKS, row, strict=True) if left),
                "forgotten": tuple(t for t, lost in zip(TASKS, lost_row, strict=True) if lost),
            }
        )
        for entry, row, lost_row in zip(entries, cells.retain.tolist(), gone.tolist(), strict=True)
    ]


@pytest.fixture
def first_manifest() -> list[ManifestEntry]:
    workload = BreakableWorkload()
    return manifest_entries(workload, workload.instances("train"))


@pytest.fixture
def carry_out(
    install_workload: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., JobResult]:
    """Trains a parent and runs a job on it; or on what an earlier run left in the folder `on`."""
    install_workload("from breakable_workload import BreakableWorkload as Theirs\n")

    def carry_out(
        *requests: Request,
        options: dict[str, Any] | None = None,
        on: Path | None = None,
        entries: Sequence[ManifestEntry] = (),
        into: str = "staging",
        **changes: Any,
    ) -> JobResult:
        parent = on or tmp_path / "parent"
        if on is None:
            train_from_scratch(BreakableWorkload(**(options or {})), 0, parent, lambda *_: None)
        manifest = parent / MANIFEST_FILE
        if entries:
            manifest.write_text("".join(e.model_dump_json() + os.linesep for e in entries))
        spec = JobSpec.model_validate(
            {
                "job_id": "job_1",
                "workload": "theirs",
                "workload_options": options or {},
                "parent_weights": parent / WEIGHTS_FILE,
                "manifest": manifest,
                "requests": named(requests),
                "settings": SETTINGS,
                "staging": tmp_path / into,
                **changes,
            }
        )
        return run(spec, lambda _: None)

    return carry_out


CarryOut = Callable[..., JobResult]


def test_full_and_partial_requests_of_a_job_unite_as_cells(
    first_manifest: list[ManifestEntry],
) -> None:
    requests = named([([0, 1], TASKS), ([1, 2], ["right"])])
    cells = cells_of(requests, first_manifest)
    assert cells.forget[:4].tolist() == [
        [True, True], [True, True], [False, True], [False, False],
    ]  # fmt: skip
    assert torch.equal(cells.retain, ~cells.forget)
    # Each request is audited on all that it asked for, also where another asked for it too.
    assert [int(request.cells.sum()) for request in cells.requests] == [4, 2]


def test_full_and_partial_requests_are_carried_out_together(carry_out: CarryOut) -> None:
    result = carry_out((range(6), TASKS), (range(4, 12), ["right"]))
    targets = {(c.request_id, c.task): c.target for c in result.audit.cells}
    assert targets == {
        ("req_1", "left"): True, ("req_1", "right"): True,
        ("req_2", "left"): False, ("req_2", "right"): True,
    }  # fmt: skip
    # Of a kept task the request's instances are measured where they still teach it.
    assert all(cell.forget is not None for cell in result.audit.cells)


@pytest.mark.parametrize("subjects", [1, 12])
def test_whole_subjects_are_compared_with_unseen_subjects(
    digits: Any, tmp_path: Path, subjects: int
) -> None:
    train = DigitsWorkload().instances("train")
    chosen = set(sorted(set(train.subjects))[:subjects])  # type: ignore[type-var]
    instances = [n for n, s in zip(train.ids, train.subjects, strict=True) if s in chosen]
    spec = JobSpec.model_validate(
        {
            "job_id": "job_1",
            "workload": "digits",
            "parent_weights": digits.folder / WEIGHTS_FILE,
            "manifest": digits.folder / MANIFEST_FILE,
            "requests": [{"request_id": "req_1", "instances": instances, "tasks": ["parity"]}],
            "settings": SETTINGS,
            "staging": tmp_path,
        }
    )
    report = run(spec, lambda _: None).audit
    assert "unseen subjects" in report.reference
    assert [cell.target for cell in report.cells] == [False, True, False]


def test_an_instance_without_a_label_has_no_cell_to_forget(carry_out: CarryOut) -> None:
    options = {"one_label": 4}
    result = carry_out((range(8), TASKS), options=options)
    assert all(cell.auc is not None for cell in result.audit.cells)
    with pytest.raises(InvalidSpec, match="empty forget set"):
        carry_out((range(4), ["right"]), options=options)


def test_a_label_that_is_missing_cannot_have_taught(
    carry_out: CarryOut, first_manifest: list[ManifestEntry], tmp_path: Path
) -> None:
    options = {"one_label": 4}
    train_from_scratch(BreakableWorkload(**options), 0, tmp_path / "parent", lambda *_: None)
    undigested = [entry.model_copy(update={"digest": None}) for entry in first_manifest]
    with pytest.raises(InvalidSpec, match=r"teaches task 'right' in the manifest but has no label"):
        carry_out(([9], TASKS), options=options, on=tmp_path / "parent", entries=undigested)


def test_in_a_row_what_was_forgotten_never_teaches_again(
    first_manifest: list[ManifestEntry],
) -> None:
    asked: list[list[Request]] = [
        [([0, 1], TASKS)],
        [([2, 3], ["left"])],
        [([1, 2, 4], TASKS)],
    ]
    entries: Sequence[ManifestEntry] = first_manifest
    honoured = torch.zeros(60, 2, dtype=torch.bool)
    for requests in asked:
        cells = cells_of(named(requests), entries)
        assert torch.equal(cells.earlier, honoured)
        assert not (cells.retain & honoured).any()
        assert not (cells.forget & honoured).any()
        honoured |= cells.forget
        entries = after(entries, cells)
    assert honoured[:6].tolist() == [
        [True, True], [True, True], [True, True], [True, False], [True, True], [False, False],
    ]  # fmt: skip


def test_requests_are_carried_out_in_a_row(
    carry_out: CarryOut, first_manifest: list[ManifestEntry], tmp_path: Path
) -> None:
    asked: list[Request] = [(range(6), TASKS), (range(6, 12), ["left"]), (range(9, 15), TASKS)]
    entries: Sequence[ManifestEntry] = first_manifest
    parent, weights = None, set()
    for number, request in enumerate(asked):
        result = carry_out(request, on=parent, entries=entries if parent else (), into=str(number))
        weights.add(result.weights_sha256)
        parent = tmp_path / str(number)
        entries = after(entries, cells_of(named([request]), entries))
    assert len(weights) == 3


def test_half_of_the_data_can_be_forgotten(carry_out: CarryOut) -> None:
    result = carry_out((range(30), TASKS))
    assert all(cell.auc is not None for cell in result.audit.cells)


EVERYONE = range(60)


def heads(folder: Path, task: str) -> dict[str, torch.Tensor]:
    state = load_file(folder / WEIGHTS_FILE)
    return {name: tensor for name, tensor in state.items() if f".to_{task}." in name}


@pytest.mark.parametrize("method", ["interference_aware", "finetune", "ssd"])
def test_a_task_forgotten_entirely_has_the_head_that_retraining_would_leave(
    carry_out: CarryOut, tmp_path: Path, method: str
) -> None:
    request: Request = (EVERYONE, ["right"])
    settings = {} if method == "ssd" else {"min_steps": 10, "steps_per_instance": 0.1}
    result = carry_out(request, method=method, settings=settings, seed=5)
    carry_out(request, method="retrain", settings={}, seed=5, into="retrained")
    ours, theirs = heads(tmp_path / "staging", "right"), heads(tmp_path / "retrained", "right")
    assert ours
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    taught = heads(tmp_path / "parent", "right")
    assert not any(torch.equal(ours[name], taught[name]) for name in taught)
    assert result.settings["withdrawn_weights"] == {"right": sum(t.numel() for t in ours.values())}
    (note,) = [note for note in result.audit.notes if "No instance teaches" in note]
    assert "task 'right' any more: its own 17 weights are those of a network that never" in note
    right = next(cell for cell in result.audit.cells if cell.task == "right")
    left = next(cell for cell in result.audit.cells if cell.task == "left")
    assert right.retain is None
    assert right.validation is not None
    assert left.validation is not None
    # It is no better than a guess of the mean now, while the other task is left alone.
    assert right.validation.after > 1.2 * right.validation.before
    assert left.validation.after < 1.2 * left.validation.before
    # Nobody is owed a task that nothing teaches: that it is useless now is no damage.
    assert "quality" not in right.reason or right.verdict == "pass"
    assert "validation quality" in left.reason


def test_what_is_left_of_a_task_can_be_forgotten_beside_other_requests(
    carry_out: CarryOut, first_manifest: list[ManifestEntry], tmp_path: Path
) -> None:
    carry_out((range(30), ["right"]), into="half")
    entries = after(first_manifest, cells_of(named([(range(30), ["right"])]), first_manifest))
    rest: list[Request] = [(range(30, 60), ["right"]), (range(5), ["left"])]
    result = carry_out(*rest, on=tmp_path / "half", entries=entries, into="rest")
    assert result.settings["withdrawn_weights"] == {"right": 17}
    # Nobody teaches it any more; the next job goes on without it.
    entries = after(entries, cells_of(named(rest), entries))
    result = carry_out((range(5, 9), ["left"]), on=tmp_path / "rest", entries=entries, into="next")
    assert "withdrawn_weights" not in result.settings


def test_a_task_without_weights_of_its_own_is_left_to_retraining(carry_out: CarryOut) -> None:
    request: Request = (EVERYONE, ["right"])
    options = {"shared": True}
    with pytest.raises(InvalidSpec, match=r"'right' would be forgotten, but it shares all its"):
        carry_out(request, options=options)
    result = carry_out(request, options=options, method="retrain", settings={})
    assert result.method == "retrain"


def test_wrong_targets_cannot_be_had_where_nobody_teaches_a_task(carry_out: CarryOut) -> None:
    with pytest.raises(InvalidSpec, match="so there is no other target to give; use the method re"):
        carry_out((EVERYONE, ["right"]), method="random_label", settings={})
