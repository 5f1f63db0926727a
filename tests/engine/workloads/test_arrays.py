import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import WorkloadError
from engine.evaluation import metrics
from engine.workload import Split
from engine.workloads.arrays import ArraysWorkload
from engine.workloads.networks import MultiTaskMLP, MultiTaskResNet, MultiTaskUNet

Folder = Callable[..., Path]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def _trained_metrics(workload: ArraysWorkload) -> list[float | None]:
    torch.manual_seed(0)
    model = workload.build_model()
    instances = workload.instances("train")
    workload.train(model, instances, instances.supervision, 0, lambda step, of: None)
    (values,) = metrics(workload, model, instances, [instances.supervision], torch.device("cpu"))
    return values


def test_a_table_is_read_with_its_subjects_and_standardised(table_folder: Folder) -> None:
    workload = ArraysWorkload(str(table_folder()))
    train = workload.instances("train")
    assert list(workload.tasks) == ["sex", "age"]
    assert train.ids[:2] == ["train-00", "train-01"]
    assert train.subjects[3] == "train-person-1"
    inputs = train.batch(torch.arange(12)).inputs
    torch.testing.assert_close(inputs.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std(0, correction=0), torch.ones(3))


def test_held_out_inputs_are_standardised_by_the_training_split(table_folder: Folder) -> None:
    folder = table_folder()
    with np.load(folder / "train.npz") as train, np.load(folder / "val.npz") as val:
        expected = (val["inputs"] - train["inputs"].mean(0)) / train["inputs"].std(0)
    inputs = ArraysWorkload(str(folder)).instances("val").batch(torch.arange(6)).inputs
    np.testing.assert_allclose(inputs.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_table_gets_a_perceptron_that_learns_it(table_folder: Folder) -> None:
    workload = ArraysWorkload(str(table_folder()), epochs=200, width=64)
    assert isinstance(workload.build_model(), MultiTaskMLP)
    accuracy, error = _trained_metrics(workload)
    assert accuracy == 1
    assert error is not None
    assert error < 3


def test_missing_labels_clear_the_supervision(table_folder: Folder) -> None:
    sex = np.array([0, 1] * 6)
    sex[[2, 5]] = -1
    age = np.full(12, 40, dtype=np.float32)
    age[0] = math.nan
    train = ArraysWorkload(str(table_folder(train={"target_sex": sex, "target_age": age})))
    supervision = train.instances("train").supervision
    assert supervision[:, 0].logical_not().nonzero().flatten().tolist() == [2, 5]
    assert supervision[:, 1].logical_not().nonzero().flatten().tolist() == [0]


def test_limit_keeps_some_training_instances_and_all_held_out_ones(table_folder: Folder) -> None:
    folder = str(table_folder())
    whole, limited = ArraysWorkload(folder), ArraysWorkload(folder, limit=5)
    assert [len(limited.instances(split)) for split in SPLITS] == [5, 6, 6]
    kept = set(limited.instances("train").digests)
    assert kept < set(whole.instances("train").digests)


def test_every_kind_of_dense_task_shares_one_u_net(picture_folder: Folder) -> None:
    def targets(count: int, random: np.random.Generator) -> dict[str, Any]:
        normals = random.normal(size=(count, 10, 7, 3)).astype(np.float32)
        return {
            "target_parts": random.integers(0, 3, (count, 10, 7), dtype=np.uint8),
            "target_saliency": random.integers(0, 2, (count, 10, 7), dtype=np.uint8),
            "target_depth": random.uniform(1, 5, (count, 10, 7)).astype(np.float32),
            "target_normals": normals / np.linalg.norm(normals, axis=3, keepdims=True),
            "people": random.integers(0, 4, count).astype(np.float32),
        }

    folder = picture_folder(
        [
            {"name": "parts", "kind": "segmentation", "classes": 3, "ignore_index": 2},
            {"name": "saliency", "kind": "binary_segmentation", "metric": "max_f1"},
            {"name": "depth", "kind": "depth"},
            {"name": "normals", "kind": "normals"},
            {"name": "people", "kind": "regression", "key": "people"},
        ],
        targets,
    )
    workload = ArraysWorkload(str(folder), epochs=2, width=8, downscale=2)
    assert isinstance(workload.build_model(), MultiTaskUNet)
    assert workload.instances("train").batch(torch.tensor([0])).targets["normals"].shape[1] == 3
    values = _trained_metrics(workload)
    assert all(value is not None for value in values)


def test_image_level_tasks_get_a_residual_net(picture_folder: Folder) -> None:
    def targets(count: int, random: np.random.Generator) -> dict[str, Any]:
        return {
            "target_tags": random.integers(0, 2, (count, 4)),
            "target_ends": random.uniform(0, 1, (count, 2, 2)).astype(np.float32),
        }

    folder = picture_folder(
        [
            {"name": "tags", "kind": "multilabel", "classes": ["a", "b", "c", "d"]},
            {"name": "ends", "kind": "landmarks", "classes": 2, "metric": "mean_point_error"},
        ],
        targets,
        shape=(9, 9),
    )
    workload = ArraysWorkload(str(folder), epochs=2, width=8)
    assert isinstance(workload.build_model(), MultiTaskResNet)
    assert all(value is not None for value in _trained_metrics(workload))


def test_the_longer_side_inside_the_u_net_has_at_most_48_pixels(picture_folder: Folder) -> None:
    folder = picture_folder(
        [{"name": "parts", "kind": "segmentation", "classes": 2}],
        lambda count, random: {"target_parts": np.zeros((count, 144, 96), dtype=np.uint8)},
        shape=(144, 96, 1),
    )
    assert ArraysWorkload(str(folder)).downscale == 3


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"tasks": []}, "dataset.json, tasks: "),
        ({"input": {"kind": "sound", "shape": [3]}}, "input.kind: .* not 'sound'"),
        ({"tasks": [{"name": "x", "kind": "poetry"}]}, r"tasks.0.kind: .* not 'poetry'"),
        ({"tasks": [{"name": "a b", "kind": "regression"}]}, r"tasks.0.name: "),
        ({"tasks": [{"name": "x", "kind": "regression"}] * 2}, "two tasks have the same name"),
        ({"tasks": [{"name": "sex", "kind": "classification"}]}, "must give 'classes'"),
        ({"tasks": [{"name": "d", "kind": "depth"}]}, "depth needs an image as input"),
        (
            {"tasks": [{"name": "age", "kind": "regression", "metric": "r2"}]},
            "no metric 'r2' for regression; there is: mae",
        ),
    ],
)
def test_a_bad_description_is_refused_in_one_sentence(
    table_folder: Folder, dataset: dict[str, Any], message: str
) -> None:
    with pytest.raises(WorkloadError, match=message) as caught:
        ArraysWorkload(str(table_folder(dataset)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"inputs": None}, "train.npz has no array 'inputs'"),
        ({"target_age": None}, "train.npz has no array 'target_age'"),
        ({"ids": np.array(["same"] * 12)}, "id 'same' occurs more than once"),
        ({"ids": np.arange(12)}, "'ids' must be strings, not int64"),
        ({"target_age": np.zeros(11, np.float32)}, "'target_age' has 11 rows for 12 ids"),
        ({"inputs": np.zeros((12, 4), np.float32)}, r"an input has shape \[4\], but .* says \[3\]"),
        ({"inputs": np.full((12, 3), np.nan)}, "'inputs' holds a value that is NaN or infinite"),
        ({"target_sex": np.full(12, 2)}, "'target_sex' holds the label 2; labels go from 0 to 1"),
        ({"target_sex": np.zeros(12)}, "'target_sex' must be whole numbers, not float64"),
        ({"target_age": np.full(12, np.inf)}, "'target_age' holds an infinite value"),
        ({"target_age": np.zeros((12, 2))}, r"'target_age' has shape \[2\] an instance"),
        ({"inputs": np.array([{}] * 12)}, "not a readable npz of plain arrays"),
    ],
)
def test_bad_arrays_are_refused_in_one_sentence(
    table_folder: Folder, train: dict[str, Any], message: str
) -> None:
    workload = ArraysWorkload(str(table_folder(train=train)))
    with pytest.raises(WorkloadError, match=message) as caught:
        workload.instances("train")
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_a_missing_file_are_named(table_folder: Folder) -> None:
    with pytest.raises(WorkloadError, match=r"cannot read .*nowhere.*No such file"):
        ArraysWorkload("nowhere")
    folder = table_folder()
    (folder / "test.npz").unlink()
    with pytest.raises(WorkloadError, match=r"cannot read .*test.npz: No such file"):
        ArraysWorkload(str(folder)).instances("test")


def test_a_file_that_is_no_npz_is_named(table_folder: Folder) -> None:
    folder = table_folder()
    (folder / "val.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(WorkloadError, match=r"val.npz is not a readable npz"):
        ArraysWorkload(str(folder)).instances("val")


def test_another_sha256_or_count_than_described_is_refused(table_folder: Folder) -> None:
    folder = table_folder({"files": {"train.npz": {"sha256": "00" * 32}}})
    with pytest.raises(WorkloadError, match=r"train.npz has sha256 .*, but dataset.json says 0000"):
        ArraysWorkload(str(folder)).instances("train")
    folder = table_folder({"counts": {"train": 13}})
    with pytest.raises(WorkloadError, match=r"12 instances, but dataset\.json says 13"):
        ArraysWorkload(str(folder)).instances("train")


def test_held_out_data_with_a_training_instance_are_refused(table_folder: Folder) -> None:
    ids = np.array(["train-03", *(f"val-{row}" for row in range(5))])
    with pytest.raises(WorkloadError, match=r"'train-03' is in train.npz and in val.npz"):
        ArraysWorkload(str(table_folder(val={"ids": ids}))).instances("val")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": 3}, "option 'path' must be a folder's name"),
        ({"epochs": 0}, "option 'epochs' must be a whole number of at least 1"),
        ({"limit": -1}, "option 'limit' must be"),
        ({"downscale": 2}, "option 'downscale' is for images with a dense task"),
    ],
)
def test_a_bad_option_is_named(table_folder: Folder, options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        ArraysWorkload(**{"path": str(table_folder()), **options})


def test_the_epochs_of_the_recipe_are_told_without_reading_the_data(table_folder: Folder) -> None:
    assert ArraysWorkload(str(table_folder()), epochs=7).epochs == 7
    assert ArraysWorkload(str(table_folder())).epochs is None
    counted = str(table_folder({"counts": {"train": 10_000}}))
    assert ArraysWorkload(counted).epochs == 40  # 400 000 visits
    assert ArraysWorkload(counted, limit=5_000).epochs == 80
