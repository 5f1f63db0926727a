import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.audit import Evidence
from engine.audit.near_duplicates import near_duplicates
from engine.registry import load_workload
from engine.workloads.arrays import ArraysWorkload


def table(folder: Path, inputs: np.ndarray) -> ArraysWorkload:
    width = inputs.shape[1]
    described = {
        "input": {"kind": "tabular", "shape": [width]},
        "tasks": [
            {"name": "weight", "kind": "regression"},
            {"name": "height", "kind": "regression"},
        ],
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    random = np.random.default_rng(0)
    held_out = random.normal(size=(40, width))
    for split, values in (("train", inputs), ("val", held_out), ("test", held_out + 1)):
        np.savez(
            folder / f"{split}.npz",
            ids=np.array([f"{split}-{row:03d}" for row in range(len(values))]),
            inputs=values.astype(np.float32),
            target_weight=random.normal(size=len(values)).astype(np.float32),
            target_height=random.normal(size=len(values)).astype(np.float32),
        )
    return ArraysWorkload(path=str(folder), epochs=1)


@pytest.mark.parametrize("width", [8, 1000])
def test_what_nearly_repeats_a_forgotten_instance_is_found_and_nothing_else(  # type: ignore[no-untyped-def]
    tmp_path: Path, evidence, width: int
) -> None:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(120, width)) * np.geomspace(1, 100, width)
    inputs[100:105] = inputs[:5] * (1 + 0.01 * random.normal(size=(5, width)))
    inputs[105] = inputs[5]  # with another label, so that its digest is another
    workload = table(tmp_path, inputs)
    found = evidence(workload, [f"train-{row:03d}" for row in range(20)], ["weight", "height"])
    assert near_duplicates(found)[0] == [0, 1, 2, 3, 4, 5]


def test_a_twin_that_teaches_another_task_only_does_not_count(  # type: ignore[no-untyped-def]
    tmp_path: Path, evidence
) -> None:
    inputs = np.random.default_rng(1).normal(size=(120, 8))
    inputs[100] = inputs[0] * 1.001
    workload = table(tmp_path, inputs)
    found: Evidence = evidence(workload, ["train-000"], ["weight"])
    assert near_duplicates(found)[0] == [0]
    found.retain[100, 0] = False
    assert near_duplicates(found)[0] == []


def test_few_retained_instances_give_no_usual_distance(  # type: ignore[no-untyped-def]
    tmp_path: Path, evidence
) -> None:
    inputs = np.random.default_rng(1).normal(size=(30, 8))
    inputs[20] = inputs[0]
    workload = table(tmp_path, inputs)
    found: Evidence = evidence(workload, [f"train-{row:03d}" for row in range(15)], ["weight"])
    assert near_duplicates(found)[0] == []


def test_ordinary_digits_have_none_and_slightly_moved_ones_do(evidence) -> None:  # type: ignore[no-untyped-def]
    workload = load_workload("digits", {})
    train = workload.instances("train")
    found: Evidence = evidence(workload, list(train.ids[:100]), list(workload.tasks))
    assert near_duplicates(found)[0] == []
    # Handed back to the retain set each is its own twin; exact copies have a note of their own.
    twins = dataclasses.replace(found, retain=torch.ones_like(found.retain))
    assert near_duplicates(twins)[0] == []
