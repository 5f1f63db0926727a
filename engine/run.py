"""One unlearning run: load, unlearn, audit, write."""

import copy
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from engine.audit import Evidence, audit
from engine.audit.halves import halves
from engine.checkpoint import load_weights, write_weights
from engine.contract import check_tasks, fresh_model, split_of
from engine.delta import write_delta
from engine.errors import Diverged, InvalidSpec
from engine.group import Group, join_group, leave_group
from engine.load import load_of
from engine.manifest import read_manifest, resolve
from engine.planner import cheaper_to_retrain
from engine.problem import Outcome, Problem
from engine.registry import load_method, load_workload
from engine.saved_state import SavedState
from engine.spec import (
    DELTA_FILE,
    RESULT_FILE,
    WEIGHTS_FILE,
    AuditReport,
    JobLoad,
    JobResult,
    JobSpec,
    Progress,
)
from engine.withdrawal import emptied_tasks, own_weights, withdraw
from engine.workload import Reporter, epochs_of

Phase = Literal["load", "unlearn", "audit", "write"]
Emit = Callable[[Progress], None]

_START_BEFORE = frozenset({"retrain", "rewind"})
"""Methods that start from weights which a task that is forgotten entirely has never taught."""

_DETERMINES = {
    "workload",
    "workload_options",
    "requests",
    "method",
    "settings",
    "seed",
    "precision",
}
"""What of a specification the new weights hang on, beside the content of its files."""


def run(spec: JobSpec, emit: Emit) -> JobResult | None:
    """Carry out `spec`; leaves weights and `result.json` in its staging folder, or neither.

    The same spec on the same machine with the same number of threads gives the same weights, byte
    for byte. Raises `EngineError` with one sentence where it cannot be done; the staging folder
    then has no `result.json`. Of several processes (`engine.group`) the first one audits, writes
    and tells; the others give None.
    """
    started = time.perf_counter()
    group, device_name = join_group(spec.device)
    try:
        return _run(spec, group, _device(device_name), emit if group.rank == 0 else _quiet, started)
    finally:
        leave_group(group)


def _run(
    spec: JobSpec, group: Group, device: torch.device, emit: Emit, started: float
) -> JobResult | None:
    load = _reporter("load", emit)
    load(0, 4)
    if group.rank == 0:
        _clear_staging(spec)
    workload = load_workload(spec.workload, spec.workload_options)
    check_tasks(workload)
    method = load_method(spec.method)
    load(1, 4)
    train = split_of(workload, "train")
    calibration, judging = halves(split_of(workload, "val"))
    load(2, 4)
    tasks = list(workload.tasks)
    cells = resolve(read_manifest(spec.manifest), spec.requests, train, tasks)
    job_load = load_of(cells, spec.thresholds)
    dear = cheaper_to_retrain(spec.method, job_load, spec.settings, epochs_of(workload))
    load(3, 4)
    before = fresh_model(workload)
    load_weights(before, spec.parent_weights)
    before.to(device).eval()
    after = copy.deepcopy(before)
    load(4, 4)
    problem = Problem(
        workload=workload,
        model=after,
        train=train,
        retain=cells.retain,
        forget=cells.forget,
        earlier=cells.earlier,
        calibration=calibration,
        settings=spec.settings,
        generator=torch.Generator().manual_seed(spec.seed),
        seed=spec.seed,
        device=device,
        progress=_reporter("unlearn", emit),
        ancestor=spec.ancestor_weights,
        group=group,
        saved_state=SavedState(spec.state, _identity(spec) if spec.state else "", spec.state_every),
        precision=spec.precision,
    )
    emptied = emptied_tasks(tasks, cells.retain, cells.forget)
    if emptied and spec.method not in _START_BEFORE:
        own = own_weights(problem, emptied)
        outcome = withdraw(problem, own, method(problem))
    else:
        outcome = method(problem)
    if dear:
        outcome = dataclasses.replace(outcome, notes=(*outcome.notes, dear))
    _check_finite(after)
    if group.rank > 0:
        return None
    evidence = Evidence(
        workload,
        train,
        cells.retain,
        judging,
        cells.requests,
        spec.thresholds,
        device,
        earlier=cells.earlier,
        seed=spec.seed,
    )
    report = audit(evidence, before, after, _reporter("audit", emit))
    return _write(spec, after, outcome, job_load, report, started, _reporter("write", emit))


def _clear_staging(spec: JobSpec) -> None:
    """Make the folder; a result that an earlier attempt left there must not outlive this one."""
    if spec.parent_weights.resolve() == (spec.staging / WEIGHTS_FILE).resolve():
        raise InvalidSpec(
            f"the new weights would be written over the parent's in the staging folder"
            f" {spec.staging}: choose another folder"
        )
    try:
        spec.staging.mkdir(parents=True, exist_ok=True)
        (spec.staging / RESULT_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise InvalidSpec(
            f"the staging folder {spec.staging} cannot be used: {error.strerror}"
        ) from error


def _identity(spec: JobSpec) -> str:
    """Of all that determines the new weights, as hex sha256; where files lie is no part of it.

    What another release left is not gone on from: its state may lack what this one needs.
    """
    content = spec.model_dump(mode="json", include=_DETERMINES)
    content["release"] = importlib.metadata.version("expunge")
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for path in (spec.parent_weights, spec.manifest):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _quiet(_: Progress) -> None:
    """Only the first process of a group tells how far it is."""


def _write(
    spec: JobSpec,
    model: nn.Module,
    outcome: Outcome,
    load: JobLoad,
    report: AuditReport,
    started: float,
    progress: Reporter,
) -> JobResult:
    """The weights first, then the result that vouches for them."""
    progress(0, 3)
    written = write_weights(model.state_dict(), spec.staging / WEIGHTS_FILE)
    progress(1, 3)
    delta = _write_delta(spec, written.path)
    progress(2, 3)
    seconds = time.perf_counter() - started
    result = JobResult(
        job_id=spec.job_id,
        weights_sha256=written.sha256,
        weights_size=written.size,
        delta=delta,
        method=spec.method,
        settings=outcome.settings,
        seed=spec.seed,
        audit=report.model_copy(update={"notes": (*report.notes, *outcome.notes)}),
        seconds=seconds,
        gradient_evaluations=outcome.gradient_evaluations,
        training_seconds=spec.training_seconds,
        share_of_retraining=seconds / spec.training_seconds if spec.training_seconds else None,
        load=load,
        versions={
            "expunge": importlib.metadata.version("expunge"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )
    _write_text(spec.staging / RESULT_FILE, result.model_dump_json(indent=2) + "\n")
    progress(3, 3)
    return result


def _write_delta(spec: JobSpec, weights: Path) -> str | None:
    """The name of a delta from the parent, where one was asked for and came out short enough."""
    if not spec.delta_bytes:
        return None
    written = write_delta(spec.parent_weights, weights, spec.staging / DELTA_FILE).file
    if written.size <= spec.delta_bytes:
        return DELTA_FILE
    written.path.unlink()
    return None


def _write_text(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)


def _reporter(phase: Phase, emit: Emit) -> Reporter:
    """Turns (step, of) into progress lines, with the time that is left at the pace so far."""
    started = time.perf_counter()

    def report(step: int, of: int) -> None:
        eta = (time.perf_counter() - started) / step * (of - step) if step else None
        emit(Progress(phase=phase, step=step, of=of, eta_seconds=eta))

    return report


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter from a build without CUDA
        reason = str(error).partition("\n")[0]
        raise InvalidSpec(f"device {name!r} cannot be used here: {reason}") from error
    return device


def _check_finite(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise Diverged(f"weight {name!r} became NaN or infinite")
