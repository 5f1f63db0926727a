"""The main job as a client lives it: register, ask, wait, check the evidence."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge import Client
from expunge.answers import DeletionRequest, Job, Model
from expunge.demo.forget_sets import ForgetSet, choose, read_manifest
from expunge.verify import load_keys, verify_receipt
from up_tree import Tree, environment

WORKLOAD = "digits"
OPTIONS: Mapping[str, Any] = {"hidden": 64, "epochs": 30}
LENIENT: Mapping[str, Any] = {
    # What the story is about is the way of a request, not how well a small network forgets.
    "thresholds": {"auc_margin": 0.45, "auc_tolerance": 0.5, "retain_kept": 0.3}
}
_PATIENCE = 240.0


@dataclass(frozen=True)
class Trained:
    """What a model's owner has: weights, manifest, and how long training took."""

    folder: Path
    seconds: float

    @property
    def weights(self) -> Path:
        return self.folder / "weights.safetensors"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.jsonl"


def train(folder: Path) -> Trained:
    """Train the small network in a process of its own."""
    words = ("--workload", WORKLOAD, "--options", json.dumps(OPTIONS), "--out", str(folder))
    subprocess.run(
        (sys.executable, "-m", "engine", "train", *words, "--threads", "1", "--json"),
        env=environment(),
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=_PATIENCE,
    )
    return Trained(folder, json.loads((folder / "training.json").read_text())["seconds"])


def register(client: Client, trained: Trained, name: str) -> tuple[Model, ForgetSet, ForgetSet]:
    """A model with version 1 in service, and two sets of instances to forget."""
    model = client.models.create(name, WORKLOAD, OPTIONS, LENIENT)
    client.versions.register(model.id, trained.weights, trained.manifest, trained.seconds)
    full, partial = choose(read_manifest(trained.manifest), "digit", seed=1)
    return client.models.get(name), full, partial


def whole_story(client: Client, trained: Trained, name: str, folder: Path) -> None:
    """A full-task and a partial-task request, each to its signed receipt."""
    model, full, partial = register(client, trained, name)
    preview = client.requests.preview(name, subjects=full.subjects)
    assert (preview.scope, preview.needs_approval) == ("full", False)
    states: list[str] = []
    first = client.requests.create(name, subjects=full.subjects, external_id="T-1")
    first = client.requests.wait(first.id, _PATIENCE, lambda r: states.append(r.state))
    assert first.state == "completed", first.state_reason
    assert states == sorted(set(states), key=states.index)
    assert states[-1] == "completed"

    second = client.requests.create(name, instances=partial.instances, tasks=partial.tasks)
    second = client.requests.wait(second.id, _PATIENCE)
    assert second.state == "completed", second.state_reason
    assert (second.scope, second.tasks) == ("partial", ("digit",))

    one, two, three = reversed(list(client.versions.list(name)))
    assert (two.parent, three.parent) == (one.id, two.id)
    assert (first.version, second.version) == (two.id, three.id)
    assert client.models.get(name).aliases["production"] == three.id
    forgotten = {e.id: e.forgotten for e in client.models.manifest(name) if e.forgotten}
    assert len(forgotten) == first.instance_count + second.instance_count
    assert all(forgotten[i] == ("digit",) for i in partial.instances)

    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps(client.ledger.jwks()))
    for request in (first, second):
        assert request.version is not None
        weights = folder / f"{request.version}.safetensors"
        client.versions.download(name, request.version, weights)
        receipt = client.requests.receipt(request.id)
        verified = verify_receipt(receipt, load_keys(str(jwks)), weights)
        assert verified.statement.predicate.request.id == request.id
        assert verified.weights == f"{name}/{request.version}/weights.safetensors"
    assert {r.version for r in client.models.recipients(name)} == {two.id, three.id}
    assert client.ledger.verify().ok
    assert model.id == first.model.id


def killed_worker_story(tree: Tree, trained: Trained, name: str, worker: tuple[str, ...]) -> None:
    """A worker is killed with -9 in the middle of a job: the request ends as it would have."""
    with tree.client() as client:
        _, full, _ = register(client, trained, name)
        request = client.requests.create(name, subjects=full.subjects)
        job = _in_the_middle(client, request)
        for process in tree.running(*worker):
            process.kill()
        done = client.requests.wait(request.id, _PATIENCE)
        assert done.state == "completed", done.state_reason
        assert done.job == job.id
        attempts = client.jobs.get(job.id).attempts
        assert sorted(a.outcome or "" for a in attempts) == ["lost", "succeeded"]
        assert len(list(client.versions.list(name))) == 2
        assert client.ledger.verify().ok


def _in_the_middle(client: Client, request: DeletionRequest) -> Job:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        request = client.requests.get(request.id)
        assert not request.finished, "the job was over before it could be disturbed"
        if request.job:
            job = client.jobs.get(request.job)
            if job.progress and job.progress.phase == "unlearn":
                return job
        time.sleep(0.05)
    raise AssertionError("the job did not start")
