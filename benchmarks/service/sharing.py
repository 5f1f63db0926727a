"""What a thousand requests for one model take, against one: they share a job.

All of it is real: the network is trained, the worker claims the job, the engine unlearns and audits
in its own process, and each request gets its own verdict and its own receipt.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from app import migrate
from app.db import Database, database_now
from app.ids import new_id
from app.schemas.deletion_requests import NewDeletionRequest
from app.services import intake, planning
from app.settings import Settings
from app.states import FINISHED_REQUEST
from app.storage import LocalStorage
from app.tables import DEFAULT_TENANT, DeletionRequest, Job, Model
from benchmarks.service.databases import Databases
from benchmarks.service.installation import ALL_AUTOMATIC, put_in_service
from benchmarks.service.rows import Row
from worker.presence import Presence
from worker.run_job import Workshop, work_until_idle

TARGET = 2.0
_NETWORK: dict[str, Any] = {"hidden": 64, "epochs": 2}
_MODEL = "digits"
_AT_ONCE = 50
"""Requests that are written in one transaction."""
_NAMED = 100
"""Instances that the requests name, each of them one: too many, and nothing would be left."""


@dataclass(frozen=True)
class _Trained:
    """A network and what it was trained on."""

    weights: Path
    manifest: Sequence[dict[str, Any]]


def measure(databases: Databases, folder: Path, *, requests: int) -> Iterator[Row]:
    """One request's job, then that of many; each from the claim to the last receipt."""
    trained = _train(folder / "trained")
    alone = _worked(databases, folder / "one", trained, 1)
    shared = _worked(databases, folder / "many", trained, requests)
    yield Row(
        name=f"a job that {requests} requests share, {databases.kind}",
        ours=shared,
        reference=alone,
        ratio=shared / alone,
        target=TARGET,
        unit="s",
        section="share",
        note=f"from the claim to the last receipt; each of the {requests} names one instance, of"
        f" {min(requests, _NAMED)} among {len(trained.manifest)}; against one request for one",
    )


def _train(folder: Path) -> _Trained:
    options = ["--workload", "digits", "--options", json.dumps(_NETWORK), "--out", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "engine", "train", *options, "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return _Trained(folder / "weights.safetensors", [json.loads(line) for line in lines])


def _worked(databases: Databases, folder: Path, trained: _Trained, requests: int) -> float:
    """Seconds in which a worker carries out so many requests."""
    folder.mkdir()
    settings = Settings(state_dir=folder, database_url=databases.create(), torch_threads=1)
    database = Database(settings.database)
    migrate.upgrade(database)
    shop = Workshop.open(settings, Presence.here(), threading.Event())
    shop.presence.show(database)
    _register(shop, trained)
    work_until_idle(shop)  # the description
    names = [trained.manifest[number % _NAMED]["id"] for number in range(requests)]
    for start in range(0, requests, _AT_ONCE):
        with database.write() as session, session.begin():
            for name in names[start : start + _AT_ONCE]:
                body = NewDeletionRequest(model=_MODEL, instances=[name])
                intake.receive(session, DEFAULT_TENANT, body, "benchmark")
    begun = time.perf_counter()
    jobs = work_until_idle(shop)
    seconds = time.perf_counter() - begun
    with database.read() as session:
        finished = session.scalar(
            select(func.count()).where(DeletionRequest.state.in_(FINISHED_REQUEST))
        )
        errors = session.scalars(select(Job.last_error).where(Job.last_error.is_not(None))).all()
    database.dispose()
    shop.database.dispose()
    if (jobs, finished) != (1, requests) or errors:
        raise ValueError(f"{jobs} jobs finished {finished} of {requests} requests: {errors}")
    return seconds


def _register(shop: Workshop, trained: _Trained) -> None:
    """The model, whose description is a job of its own, and its version in service."""
    stored = LocalStorage(shop.settings.storage).put(trained.weights)
    with shop.database.write() as session, session.begin():
        model = Model(
            id=new_id("mod"),
            tenant_id=DEFAULT_TENANT,
            name=_MODEL,
            workload="digits",
            workload_options=_NETWORK,
            policy=ALL_AUTOMATIC.model_dump(mode="json"),
            created_at=database_now(session),
        )
        taught = [
            {"instance_id": entry["id"], "subject": entry["subject"], "tasks": entry["tasks"]}
            for entry in trained.manifest
        ]
        put_in_service(session, model, stored, taught)
        planning.describe(session, model, "benchmark")
