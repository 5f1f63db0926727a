import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.spec import ManifestEntry
from engine.train import split_metrics, train_from_scratch
from engine.workloads.digits import DigitsWorkload


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _train(out: Path, seed: int = 3):
    workload = DigitsWorkload(hidden=32, epochs=2)
    return workload, train_from_scratch(workload, seed, out, lambda step, of: None)


def test_it_leaves_weights_manifest_and_report(tmp_path: Path) -> None:
    workload, training = _train(tmp_path / "out")
    weights = tmp_path / "out" / "weights.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == training.weights_sha256
    report = json.loads((tmp_path / "out" / "training.json").read_text())
    assert report["gradient_evaluations"] == 2 * 700
    assert report["seconds"] > 0

    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    entries = [ManifestEntry.model_validate_json(line) for line in lines]
    train = workload.instances("train")
    assert [entry.id for entry in entries] == list(train.ids)
    assert entries[0].tasks == ("digit", "parity", "magnitude")
    assert entries[0].digest == train.digests[0]

    model = workload.build_model()
    model.load_state_dict(load_file(weights), strict=True)
    assert split_metrics(workload, model, "val") == report["validation"]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = [
        _train(tmp_path / name, seed)[1].weights_sha256
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert digests[0] == digests[1] != digests[2]
