import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Folder = Callable[..., Path]


@pytest.fixture
def table_folder(tmp_path: Path) -> Folder:
    """Writes a tiny table with a classification and a regression task; returns its folder.

    `dataset` overrides entries of dataset.json, `train`, `val` and `test` arrays of the splits;
    None removes an array.
    """

    def write(
        dataset: dict[str, Any] | None = None,
        train: dict[str, Any] | None = None,
        val: dict[str, Any] | None = None,
        test: dict[str, Any] | None = None,
    ) -> Path:
        described = {
            "input": {"kind": "tabular", "shape": [3]},
            "tasks": [
                {"name": "sex", "kind": "classification", "classes": ["male", "female"]},
                {"name": "age", "kind": "regression"},
            ],
            **(dataset or {}),
        }
        (tmp_path / "dataset.json").write_text(json.dumps(described))
        for split, count, changes in (("train", 12, train), ("val", 6, val), ("test", 6, test)):
            random = np.random.default_rng(count)
            arrays: dict[str, Any] = {
                "ids": np.array([f"{split}-{row:02d}" for row in range(count)]),
                "subject_ids": np.array([f"{split}-person-{row // 3}" for row in range(count)]),
                "inputs": random.normal(5, 2, (count, 3)).astype(np.float32),
                "target_sex": random.integers(0, 2, count),
                "target_age": random.normal(40, 10, count).astype(np.float32),
                **(changes or {}),
            }
            kept = {key: array for key, array in arrays.items() if array is not None}
            np.savez(tmp_path / f"{split}.npz", **kept)
        return tmp_path

    return write


@pytest.fixture
def picture_folder(tmp_path: Path) -> Folder:
    """Writes tiny pictures with the given tasks and their targets; returns the folder."""

    def write(
        tasks: list[dict[str, Any]],
        targets: Callable[[int, np.random.Generator], dict[str, Any]],
        shape: tuple[int, ...] = (10, 7, 3),
    ) -> Path:
        described = {"input": {"kind": "image", "shape": list(shape)}, "tasks": tasks}
        (tmp_path / "dataset.json").write_text(json.dumps(described))
        for split, count in (("train", 8), ("val", 4), ("test", 4)):
            random = np.random.default_rng(count)
            np.savez(
                tmp_path / f"{split}.npz",
                ids=np.array([f"{split}-{row}" for row in range(count)]),
                inputs=random.integers(0, 256, (count, *shape), dtype=np.uint8),
                **targets(count, random),
            )
        return tmp_path

    return write
