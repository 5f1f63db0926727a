"""Training from scratch: a first version to register, with its manifest."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from engine.checkpoint import write_weights
from engine.contract import fresh_model, owners_code, split_of
from engine.evaluation import metrics
from engine.extra_metrics import Scores, extra_scores
from engine.spec import WEIGHTS_FILE, ManifestEntry
from engine.workload import InstanceSet, Reporter, Split, Workload

MANIFEST_FILE = "manifest.jsonl"
TRAINING_FILE = "training.json"


@dataclass(frozen=True)
class Training:
    """What `training.json` says of a training run."""

    workload: str
    seed: int
    threads: int
    seconds: float
    """Of training alone, without loading data or writing files."""
    gradient_evaluations: int
    weights_sha256: str
    weights_size: int
    instances: int
    validation: dict[str, float | None]
    """Each task's metric on the validation split; None where it is not defined."""


def manifest_entries(workload: Workload, instances: InstanceSet) -> list[ManifestEntry]:
    """What a version trained on all of `instances` was taught, one entry an instance."""
    names = list(workload.tasks)
    return [
        ManifestEntry(
            id=instances.ids[row],
            subject=instances.subjects[row],
            digest=instances.digests[row],
            tasks=tuple(name for name, taught in zip(names, cells, strict=True) if taught),
        )
        for row, cells in enumerate(instances.supervision.tolist())
    ]


def split_metrics(workload: Workload, model: nn.Module, split: Split) -> dict[str, float | None]:
    """Each task's metric over a whole split, in the metric's own units."""
    instances = split_of(workload, split)
    device = next(model.parameters()).device
    (values,) = metrics(workload, model, instances, [instances.supervision], device)
    return dict(zip(workload.tasks, values, strict=True))


def split_extra_metrics(workload: Workload, model: nn.Module, split: Split) -> Scores:
    """The further metrics over a whole split of the tasks that have any."""
    instances = split_of(workload, split)
    device = next(model.parameters()).device
    (scores,) = extra_scores(workload, model, instances, [instances.supervision], device)
    return scores


def train_from_scratch(workload: Workload, seed: int, out: Path, progress: Reporter) -> Training:
    """Train a fresh network on the training split and write weights, manifest and report to `out`.

    The same seed, machine and number of threads give the same bytes of weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    instances = split_of(workload, "train")
    torch.manual_seed(seed)
    model = fresh_model(workload)
    start = time.perf_counter()
    with owners_code("the workload's train"):
        evaluations = workload.train(model, instances, instances.supervision, seed, progress)
    seconds = time.perf_counter() - start
    weights = write_weights(model.state_dict(), out / WEIGHTS_FILE)
    with (out / MANIFEST_FILE).open("w", encoding="utf-8") as file:
        for entry in manifest_entries(workload, instances):
            # A first version has forgotten nothing, and the service's manifest has no such member.
            file.write(entry.model_dump_json(exclude={"forgotten"}) + "\n")
    training = Training(
        workload=workload.name,
        seed=seed,
        threads=torch.get_num_threads(),
        seconds=seconds,
        gradient_evaluations=evaluations,
        weights_sha256=weights.sha256,
        weights_size=weights.size,
        instances=len(instances),
        validation=split_metrics(workload, model, "val"),
    )
    (out / TRAINING_FILE).write_text(
        json.dumps(asdict(training), indent=2) + "\n", encoding="utf-8"
    )
    return training
