"""Models, versions and requests in a real database, and real worker processes."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app import ledger_check
from app.db import Database, database_now
from app.ids import new_id
from app.services import planning
from app.settings import Settings
from app.signing import Signer
from app.states import RequestState, VersionState
from app.storage import LocalStorage
from app.tables import (
    DEFAULT_TENANT,
    Alias,
    DeletionRequest,
    Instance,
    Job,
    JobRequest,
    Model,
    RequestInstance,
    Version,
)
from engine.spec import AuditReport, CellAudit, Change, JobResult, Verdict

PLUGINS = Path(__file__).parent / "plugins"
TASKS = ("digit", "parity", "magnitude")
_numbers = itertools.count(1)


class World:
    """One installation: its database, files and key, and what is in them."""

    def __init__(self, url: str, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.url = url
        self.settings = Settings(
            state_dir=state_dir,
            database_url=url,
            lease_seconds=3,
            heartbeat_seconds=0.5,
            poll_seconds=0.1,
            retry_seconds=0,
            kill_grace_seconds=1,
            torch_threads=1,
        )
        self.database = Database(url)
        self.storage = LocalStorage(self.settings.storage)
        self.signer = Signer.load_or_create(self.settings.signing_key)

    def model(
        self,
        workload: str = "digits",
        options: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
    ) -> str:
        """The id of a new model."""
        with self.database.write() as session, session.begin():
            model = Model(
                id=new_id("mod"),
                tenant_id=DEFAULT_TENANT,
                name=f"model-{next(_numbers)}",
                workload=workload,
                workload_options=options or {},
                policy=policy or {},
                created_at=database_now(session),
            )
            session.add(model)
        return model.id

    def describe(self, model_id: str) -> str:
        """The id of the model's new `describe` job."""
        with self.database.write() as session, session.begin():
            return planning.describe(session, session.get_one(Model, model_id), "test").id

    def version(
        self,
        model_id: str,
        weights: bytes | Path = b"weights",
        instances: dict[str, str | None] | None = None,
        training_seconds: float | None = None,
    ) -> str:
        """The id of a registered version in service, with these instances and their subjects."""
        if isinstance(weights, bytes):
            path = self.state_dir / "upload"
            path.write_bytes(weights)
        else:
            path = weights
        sha256, size = self.storage.put(path)
        people = instances or {f"i{n}": None for n in range(6)}
        version_id = new_id("ver")
        with self.database.write() as session, session.begin():
            now = database_now(session)
            session.add(
                Version(
                    id=version_id,
                    tenant_id=DEFAULT_TENANT,
                    model_id=model_id,
                    number=1,
                    root_id=version_id,
                    state=VersionState.VERIFIED,
                    weights_sha256=sha256,
                    weights_size=size,
                    training_seconds=training_seconds,
                    created_at=now,
                )
            )
            session.flush()
            for name, subject in people.items():
                session.add(
                    Instance(
                        root_id=version_id, instance_id=name, subject=subject, tasks=list(TASKS)
                    )
                )
            session.add(
                Alias(model_id=model_id, name="production", version_id=version_id, moved_at=now)
            )
        return version_id

    def digits(self, trained: Path, steps: int = 4) -> str:
        """The id of a model whose version in service is the trained network of the tests."""
        settings = {"min_steps": steps, "rounds": 1, "check_every": 2}
        model = self.model("digits", NETWORK, {"method_settings": settings})
        lines = (trained / "manifest.jsonl").read_text().splitlines()
        people = {entry["id"]: entry["subject"] for entry in map(json.loads, lines)}
        self.version(model, trained / "weights.safetensors", people, training_seconds=10)
        return model

    def request(
        self,
        model_id: str,
        instances: list[str],
        tasks: tuple[str, ...] = TASKS,
        priority: str = "normal",
        due_in_days: int = 30,
    ) -> str:
        """The id of a new request, queued."""
        with self.database.write() as session, session.begin():
            now = database_now(session)
            root_id = session.scalars(
                select(Version.root_id)
                .join(Alias, Alias.version_id == Version.id)
                .where(Alias.model_id == model_id)
            ).one()
            request = DeletionRequest(
                id=new_id("req"),
                tenant_id=DEFAULT_TENANT,
                model_id=model_id,
                root_id=root_id,
                state=RequestState.RECEIVED,
                scope="full" if len(tasks) == len(TASKS) else "partial",
                tasks=list(tasks),
                subjects=[],
                instance_count=len(instances),
                unknown_instances=[],
                priority=priority,
                received_at=now,
                due_at=now + timedelta(days=due_in_days),
                exceptions=[],
                created_by="test",
                created_at=now,
                updated_at=now,
            )
            session.add(request)
            session.flush()
            for pk in session.scalars(
                select(Instance.pk).where(
                    Instance.root_id == root_id, Instance.instance_id.in_(instances)
                )
            ):
                session.add(RequestInstance(request_id=request.id, instance_pk=pk))
            session.flush()
            planning.enqueue(session, request, "test")
        return request.id

    def get(self, table: type[Any], row_id: str) -> Any:
        """A row as it is now."""
        with self.database.read() as session:
            return session.get_one(table, row_id)

    def all(self, query: Any) -> list[Any]:
        """The rows of a query."""
        with self.database.read() as session:
            return list(session.scalars(query))

    def job_of(self, request_id: str) -> Job:
        """The newest job that serves a request."""
        return self.all(
            select(Job)
            .join(JobRequest, JobRequest.job_id == Job.id)
            .where(JobRequest.request_id == request_id)
            .order_by(Job.id.desc())
        )[0]

    def ledger_problem(self) -> str | None:
        """What is wrong with the ledger, if anything is."""
        with self.database.read() as session:
            return ledger_check.verify(session, DEFAULT_TENANT)

    def result(
        self,
        job_id: str,
        requests: list[str],
        verdict: Verdict = "pass",
        cell_verdicts: dict[tuple[str, str], Verdict] | None = None,
    ) -> JobResult:
        """A result as the engine would write it, its weights in storage."""
        path = self.state_dir / "made"
        path.write_bytes(f"weights of {job_id}".encode())
        sha256, size = self.storage.put(path)
        change = Change(before=0.5, after=0.5)
        cells = tuple(
            CellAudit(
                request_id=request,
                task=task,
                target=True,
                metric="accuracy",
                higher_is_better=True,
                forget=change,
                retain=change,
                validation=change,
                auc=None,
                verdict=(cell_verdicts or {}).get((request, task), verdict),
                reason="as the test says",
            )
            for request in requests
            for task in TASKS
        )
        audit = AuditReport(
            cells=cells, verdict=verdict, uis_before=9, uis_after=1, reference="none"
        )
        return JobResult(
            job_id=job_id,
            weights_sha256=sha256,
            weights_size=size,
            method="interference_aware",
            settings={},
            seed=0,
            audit=audit,
            seconds=1.5,
            gradient_evaluations=10,
            training_seconds=None,
            share_of_retraining=None,
            versions={"expunge": "0"},
        )

    def until(self, condition: Callable[[], Any], seconds: float = 120) -> Any:
        """What the condition gives once it gives something; fails after a time."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:g} s")
            time.sleep(0.05)
        return found


class Process:
    """A worker process of the test."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        self.pid = self._process.pid

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(which)

    def wait(self, seconds: float = 20) -> int:
        """Its exit code."""
        return self._process.wait(seconds)

    def end(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


NETWORK = {"hidden": 64, "epochs": 2}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small network that the engine has trained on the digits."""
    folder = tmp_path_factory.mktemp("digits")
    options = ["--workload", "digits", "--options", json.dumps(NETWORK), "--threads", "1"]
    subprocess.run(
        [sys.executable, "-m", "engine", "train", *options, "--out", str(folder), "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder


Start = Callable[..., Process]


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """An installation on each database."""
    folder = tmp_path / "state"
    folder.mkdir()
    made = World(database_url, folder)
    yield made
    made.database.dispose()


@pytest.fixture
def start(world: World, tmp_path: Path) -> Iterator[Start]:
    """Starts `python -m worker <kind>` on the installation; all are ended with the test."""
    running: list[Process] = []

    def run(kind: str = "local", **settings: object) -> Process:
        mine = {name: str(value) for name, value in world.settings.model_dump().items() if value}
        mine |= {name: str(value) for name, value in settings.items()}
        environment = {name: text for name, text in os.environ.items() if "EXPUNGE" not in name}
        environment |= {f"EXPUNGE_{name.upper()}": text for name, text in mine.items()}
        environment["EXPUNGE_RETRY_SECONDS"] = "0"
        environment["PYTHONPATH"] = str(PLUGINS)
        environment["OMP_NUM_THREADS"] = "1"
        command = [sys.executable, "-m", "worker", kind]
        process = Process(command, environment, tmp_path / f"worker-{len(running)}.log")
        running.append(process)
        return process

    yield run
    for process in running:
        process.end()
