import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.delta import restore
from engine.errors import CheckpointError, InvalidSpec
from engine.run import run
from engine.spec import (
    DELTA_FILE,
    RESULT_FILE,
    WEIGHTS_FILE,
    JobLoad,
    JobResult,
    JobSpec,
    Progress,
    RequestCells,
)

MakeSpec = Callable[..., JobSpec]


@pytest.fixture
def spec(digits, tmp_path: Path) -> MakeSpec:  # type: ignore[no-untyped-def]
    """A job on the trained digits; forgets 30 instances of all tasks unless told otherwise."""

    def make(
        instances: list[str] | None = None,
        tasks: tuple[str, ...] = ("digit", "parity", "magnitude"),
        **changes: Any,
    ) -> JobSpec:
        ids = digits.workload.instances("train").ids
        return JobSpec.model_validate(
            {
                "job_id": "job_1",
                "workload": "digits",
                "parent_weights": digits.folder / WEIGHTS_FILE,
                "manifest": digits.folder / "manifest.jsonl",
                "requests": (
                    RequestCells(
                        request_id="req_1",
                        instances=tuple(ids[:30] if instances is None else instances),
                        tasks=tasks,
                    ),
                ),
                "settings": {"rounds": 1, "min_steps": 40},
                "threads": 1,
                "staging": tmp_path / "staging",
                **changes,
            }
        )

    return make


def silent(progress: Progress) -> None:
    assert progress.step <= progress.of


def edited_manifest(
    source: Path, folder: Path, edit: Callable[[list[dict[str, Any]]], None]
) -> Path:
    entries = [json.loads(line) for line in source.read_text().splitlines()]
    edit(entries)
    path = folder / "edited.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_a_short_delta_is_left_beside_the_weights_where_one_is_asked_for(spec: MakeSpec) -> None:
    job = spec(delta_bytes=10**9)
    result = run(job, silent)
    assert result.delta == DELTA_FILE
    again = restore(job.parent_weights, job.staging / DELTA_FILE, job.staging / "again")
    assert again.sha256 == result.weights_sha256
    whole = job.staging / WEIGHTS_FILE
    assert (job.staging / DELTA_FILE).stat().st_size < 0.25 * whole.stat().st_size
    short = (job.staging / DELTA_FILE).stat().st_size - 1
    job = spec(delta_bytes=short, staging=job.staging / "next")
    assert run(job, silent).delta is None
    assert not (job.staging / DELTA_FILE).exists()


def test_a_run_leaves_weights_and_the_result_that_vouches_for_them(spec: MakeSpec) -> None:
    job = spec(training_seconds=100.0)
    lines: list[Progress] = []
    result = run(job, lines.append)
    assert result == JobResult.model_validate_json((job.staging / RESULT_FILE).read_text())
    assert result.weights_size == (job.staging / WEIGHTS_FILE).stat().st_size
    assert sorted(path.name for path in job.staging.iterdir()) == [RESULT_FILE, WEIGHTS_FILE]
    assert [cell.task for cell in result.audit.cells] == ["digit", "parity", "magnitude"]
    assert result.share_of_retraining == pytest.approx(result.seconds / 100)
    assert result.load == JobLoad(instances=700, forget=30, earlier=0, retained=670)
    assert not any("retrain" in note for note in result.audit.notes)
    assert list(dict.fromkeys(line.phase for line in lines)) == [
        "load",
        "unlearn",
        "audit",
        "write",
    ]
    last = {line.phase: line for line in lines}
    assert all(line.step == line.of and line.eta_seconds == 0 for line in last.values())


def test_a_run_that_costs_more_than_retraining_says_so_in_its_audit(spec: MakeSpec) -> None:
    dear = spec(
        method="neggrad_plus",
        workload_options={"epochs": 2},
        settings={"min_steps": 20, "steps_per_instance": 0.5},
    )
    notes = run(dear, silent).audit.notes
    assert any("times the cost of training from scratch" in note for note in notes)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    spec: MakeSpec, tmp_path: Path
) -> None:
    results = [
        run(spec(staging=tmp_path / str(number), seed=seed), silent)
        for number, seed in enumerate([3, 3, 4])
    ]
    assert results[0].weights_sha256 == results[1].weights_sha256
    assert results[0].audit == results[1].audit
    assert results[2].weights_sha256 != results[0].weights_sha256


def test_two_requests_of_a_job_are_audited_apart(spec: MakeSpec, digits: Any) -> None:
    ids = digits.workload.instances("train").ids
    requests = [
        {"request_id": "req_1", "instances": ids[:25], "tasks": ["digit", "parity", "magnitude"]},
        {"request_id": "req_2", "instances": ids[25:50], "tasks": ["parity"]},
    ]
    report = run(spec(requests=requests), silent).audit
    targets = {(cell.request_id, cell.task): cell.target for cell in report.cells}
    assert len(targets) == 6
    assert [
        task for (request, task), target in targets.items() if request == "req_2" and target
    ] == ["parity"]
    kept = next(c for c in report.cells if (c.request_id, c.task) == ("req_2", "digit"))
    assert kept.auc is None
    assert kept.forget is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instances": ["digit-9999"]}, "instance 'digit-9999' of request req_1 cannot be found"),
        ({"instances": []}, "empty forget set"),
        ({"tasks": ()}, "empty forget set"),
        ({"tasks": ("age",)}, "unknown task 'age'; the workload's tasks are: digit, parity"),
        ({"method": "wish"}, "method 'wish' is not installed"),
        ({"settings": {"strength": 3}}, "unknown setting 'strength'; the settings are"),
        ({"settings": {"rounds": 0}}, "setting 'rounds' cannot be 0"),
        ({"device": "cuda:7"}, "device 'cuda:7' cannot be used here"),
        ({"device": "abacus"}, "device 'abacus' cannot be used here"),
        ({"manifest": Path("/nowhere.jsonl")}, "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    spec: MakeSpec, changes: dict[str, Any], words: str
) -> None:
    job = spec(**changes)
    with pytest.raises(InvalidSpec, match=words):
        run(job, silent)
    assert not (job.staging / RESULT_FILE).exists()


def test_weights_of_another_network_are_refused(spec: MakeSpec) -> None:
    with pytest.raises(CheckpointError):
        run(spec(workload_options={"hidden": 8}), silent)


def test_a_record_whose_content_changed_is_refused(
    spec: MakeSpec, digits: Any, tmp_path: Path
) -> None:
    def edit(entries: list[dict[str, Any]]) -> None:
        entries[5]["digest"] = "0" * 64

    manifest = edited_manifest(digits.folder / "manifest.jsonl", tmp_path, edit)
    with pytest.raises(InvalidSpec, match="the digests differ"):
        run(spec(manifest=manifest), silent)


def test_a_bad_line_of_the_manifest_is_named(spec: MakeSpec, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"id": "digit-0001", "tasks": []}\n{"id": 3}\n')
    with pytest.raises(InvalidSpec, match="line 2 of the manifest is not an entry"):
        run(spec(manifest=manifest), silent)


def test_cells_forgotten_earlier_are_constraints_and_never_retain_data(
    spec: MakeSpec, digits: Any, tmp_path: Path
) -> None:
    ids = digits.workload.instances("train").ids

    def edit(entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            if entry["id"] in ids[100:140]:
                entry["tasks"], entry["forgotten"] = ["parity"], ["digit", "magnitude"]

    manifest = edited_manifest(digits.folder / "manifest.jsonl", tmp_path, edit)
    result = run(spec(manifest=manifest), silent)
    assert result.audit.cells
    with pytest.raises(InvalidSpec, match="empty forget set"):
        run(spec(manifest=manifest, instances=list(ids[100:140]), tasks=("digit",)), silent)


def test_too_few_held_out_instances_leave_the_audit_inconclusive(spec: MakeSpec) -> None:
    report = run(spec(thresholds={"min_reference": 1000}), silent).audit
    assert report.verdict == "inconclusive"
    assert "held-out instances to compare with, of 1000 needed" in report.cells[0].reason


def test_retraining_takes_no_settings(spec: MakeSpec) -> None:
    with pytest.raises(InvalidSpec, match="retrain has no settings"):
        run(spec(method="retrain"), silent)


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [("digit", "parity", "magnitude"), ("digit",)])
def test_the_default_method_forgets_by_itself_to_where_the_audit_finds_no_fault(
    spec: MakeSpec, digits: Any, tasks: tuple[str, ...]
) -> None:
    """60 instances of 42 subjects are few: about one task the audit may be unable to decide."""
    chosen = random.Random(11).sample(list(digits.workload.instances("train").ids), 60)
    report = run(spec(instances=chosen, tasks=tasks, settings={}), silent).audit
    assert [(cell.task, cell.reason) for cell in report.cells if cell.verdict == "fail"] == []
    assert [cell.verdict for cell in report.cells].count("inconclusive") <= 1
    assert report.uis_after < report.uis_before / 2
