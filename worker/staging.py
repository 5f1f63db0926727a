"""The folder of one attempt: what the engine is given, what it leaves, and that nothing stays."""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.schemas.models import Policy
from app.services.ancestry import ancestor_of
from app.services.attempts import IN_WORK, Claim
from app.services.cells import instances_of_each, manifest_lines
from app.services.stored_weights import DamagedWeights, Delta, Recipe, StoredWeights, recipe_of
from app.settings import Settings
from app.states import FINISHED_JOB
from app.tables import Attempt, DeletionRequest, Job, JobRequest, Model, Version
from engine.spec import (
    DESCRIPTION_FILE,
    RESULT_FILE,
    DescribeSpec,
    JobResult,
    JobSpec,
    RequestCells,
    WorkloadDescription,
)

log = logging.getLogger(__name__)

T = TypeVar("T", JobResult, WorkloadDescription)

_FOLDER = "staging"
_STATES = "resume"
"""How far jobs have come, for the next attempt of each on this machine."""


class BadResult(Exception):
    """The engine said that it was done, and what it left does not bear it out."""


@contextmanager
def staging(state_dir: Path, claim: Claim) -> Iterator[Path]:
    """An empty folder for one attempt, removed at the end whatever happened."""
    folder = state_dir.absolute() / _FOLDER / f"{claim.job_id}-{claim.fence}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_staging(state_dir: Path, database: Database) -> int:
    """Remove the folders that killed workers left; how many there were."""
    removed = 0
    for folder in (state_dir.absolute() / _FOLDER).glob("job_*-*"):
        job_id, _, fence = folder.name.rpartition("-")
        with database.read() as session:
            running = session.scalar(
                select(Attempt.id).where(
                    Attempt.job_id == job_id,
                    Attempt.fence == int(fence),
                    Attempt.ended_at.is_(None),
                )
            )
        if running is None:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def sweep_states(state_dir: Path, database: Database) -> int:
    """Remove what finished jobs wrote down to go on from; how many there were.

    It holds weights that have not forgotten yet.
    """
    removed = 0
    for file in (state_dir.absolute() / _STATES).glob("job_*"):
        job_id = file.name.partition(".")[0]
        with database.read() as session:
            job = session.get(Job, job_id)
            over = job is None or job.state in FINISHED_JOB
        if over:
            file.unlink(missing_ok=True)
            removed += 1
    return removed


def write_spec(
    session: Session,
    claim: Claim,
    folder: Path,
    weights: StoredWeights,
    settings: Settings,
) -> Path:
    """The specification file of the claimed job, with its manifest beside it.

    Raises DamagedWeights, or OSError from the storage.
    """
    job = session.get_one(Job, claim.job_id)
    model = session.get_one(Model, claim.model_id)
    spec: JobSpec | DescribeSpec
    if job.kind == "describe":
        spec = DescribeSpec(
            job_id=job.id,
            workload=model.workload,
            workload_options=model.workload_options,
            staging=folder,
        )
    else:
        policy = Policy.model_validate(model.policy)
        parent = session.get_one(Version, job.parent_version_id)
        recipe = recipe_of(session, parent)
        ancestor = ancestor_of(session, job, parent)
        manifest = folder / "manifest.jsonl"
        _write_manifest(session, parent, manifest)
        spec = JobSpec(
            job_id=job.id,
            workload=model.workload,
            workload_options=model.workload_options,
            parent_weights=weights.provide(recipe, folder, "parent.safetensors"),
            ancestor_weights=(
                weights.provide(recipe_of(session, ancestor), folder, "ancestor.safetensors")
                if ancestor
                else None
            ),
            manifest=manifest,
            requests=_requests(session, job),
            method=job.method or policy.method,
            settings=policy.method_settings if job.method in (None, policy.method) else {},
            thresholds=policy.thresholds,
            seed=job.seed,
            threads=settings.torch_threads,
            device=settings.device,
            precision=settings.precision,
            staging=folder,
            state=_state_file(settings.state_dir, job.id),
            state_every=settings.state_every_steps,
            delta_bytes=recipe.room_for_delta(settings.delta_max_share, settings.delta_max_chain),
            training_seconds=parent.training_seconds,
        )
    path = folder / "spec.json"
    path.write_text(spec.model_dump_json(), encoding="utf-8")
    return path


def read_result(
    folder: Path, weights: StoredWeights, parent: Recipe
) -> tuple[JobResult, Delta | None]:
    """The engine's result, and the delta as which its weights were stored; None: they are whole.

    A delta is stored in place of the weights once it has restored them, byte for byte, from what
    storage holds. Raises BadResult, or OSError from the storage.
    """
    result = _read(folder / RESULT_FILE, JobResult)
    file = _left(folder, result.weights)
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    size = file.stat().st_size
    if (sha256, size) != (result.weights_sha256, result.weights_size):
        raise BadResult(
            f"{file.name} has {size} bytes and sha256 {sha256}, but {RESULT_FILE} says"
            f" {result.weights_size} and {result.weights_sha256}"
        )
    if result.delta is not None and not weights.storage.exists(sha256):
        try:
            return result, weights.keep_delta(parent, _left(folder, result.delta), sha256, size)
        except DamagedWeights as error:
            log.warning("stored whole job=%s reason=%s", result.job_id, error)
    weights.storage.put(file)
    return result, None


def _left(folder: Path, name: str) -> Path:
    """A file that the result names; nothing outside the folder is looked at."""
    file = folder / os.path.basename(name)
    if not file.is_file():
        raise BadResult(f"the engine left no {file.name}")
    return file


def read_description(folder: Path) -> WorkloadDescription:
    """What the engine found out about the workload. Raises BadResult."""
    return _read(folder / DESCRIPTION_FILE, WorkloadDescription)


def _read(path: Path, kind: type[T]) -> T:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BadResult(f"the engine left no {path.name}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BadResult(f"{path.name}, {place}: {first['msg']}") from error


def _state_file(state_dir: Path, job_id: str) -> Path:
    folder = state_dir.absolute() / _STATES
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{job_id}.safetensors"


def _write_manifest(session: Session, parent: Version, path: Path) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for entry in manifest_lines(session, parent.id):
            lines.write(entry.model_dump_json() + "\n")


def _requests(session: Session, job: Job) -> tuple[RequestCells, ...]:
    tasks = dict(
        session.execute(
            select(DeletionRequest.id, DeletionRequest.tasks)
            .join(JobRequest, JobRequest.request_id == DeletionRequest.id)
            .where(JobRequest.job_id == job.id, DeletionRequest.state.in_(IN_WORK))
        ).all()
    )
    return tuple(
        RequestCells(
            request_id=request_id,
            instances=tuple(one.instance_id for one in named),
            tasks=tuple(tasks[request_id]),
        )
        for request_id, named in instances_of_each(session, sorted(tasks))
    )
