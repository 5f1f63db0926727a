import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import WorkloadError
from engine.evaluation import losses, metrics
from engine.extra_metrics import extra_scores
from engine.workload import Split
from engine.workloads.nyuv2 import NYUv2Workload

_HEIGHT, _WIDTH = 32, 48
_CPU = torch.device("cpu")


def _write_frame(folder: Path, name: str, random: np.random.Generator, classes: int) -> None:
    """One frame as the published archives hold it."""
    size = (_HEIGHT, _WIDTH)
    normal = random.standard_normal((*size, 3))
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    depth = random.uniform(1, 9, (*size, 1))
    depth[:4] = 0
    normal[:4] = 0
    content = {
        "image": random.random((*size, 3)),
        "label": random.integers(-1, classes, size).astype(np.float64),
        "depth": depth,
        "normal": normal,
    }
    for kind, array in content.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        np.save(folder / kind / f"{name}.npy", array)


def _write(folder: Path, classes: int = 13, frames: int = 12) -> Path:
    random = np.random.default_rng(0)
    for part, count in (("train", frames), ("val", 3)):
        for number in range(count):
            _write_frame(folder / part, str(number), random, classes)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("nyuv2"))


def _workload(folder: Path, **options: object) -> NYUv2Workload:
    small = {"width": 8, "epochs": 2, "batch_size": 4}
    return NYUv2Workload(str(folder), **(small | options))  # type: ignore[arg-type]


def test_the_splits_are_train_a_fixed_part_of_it_and_val(folder: Path) -> None:
    workload = _workload(folder, validation_share=0.5)
    train, val, test = (list(workload.instances(s).ids) for s in ("train", "val", "test"))
    assert sorted(train + val) == sorted(f"train/{number}" for number in range(12))
    assert train
    assert val
    assert train == sorted(train, key=lambda name: int(name.partition("/")[2]))
    assert test == ["val/0", "val/1", "val/2"]
    assert list(_workload(folder, validation_share=0.5).instances("val").ids) == val


def test_a_batch_is_what_the_files_hold(folder: Path) -> None:
    instances = _workload(folder).instances("test")
    batch = instances.batch(torch.tensor([1]))
    image, label, depth, normal = (
        np.load(folder / "val" / kind / "1.npy") for kind in ("image", "label", "depth", "normal")
    )
    red = (image[:, :, 0] - 0.485) / 0.229
    assert np.allclose(batch.inputs[0, 0].numpy(), red, atol=1e-5)
    target = batch.targets["segmentation"][0].numpy()
    assert np.array_equal(target, np.where(label < 0, 255, label))
    assert np.allclose(batch.targets["depth"][0].numpy(), depth[:, :, 0])
    assert np.allclose(batch.targets["normals"][0].movedim(0, 2).numpy(), normal)


def test_digests_come_from_the_bytes_of_the_files(folder: Path) -> None:
    instances = _workload(folder).instances("test")
    whole = hashlib.sha256()
    for kind in ("depth", "image", "label", "normal"):
        content = (folder / "val" / kind / "0.npy").read_bytes()
        whole.update(hashlib.sha256(content).digest())
    assert instances.digests[0] == whole.hexdigest()
    assert len(set(instances.digests)) == 3


def test_training_and_evaluation_run_on_the_files(folder: Path) -> None:
    torch.manual_seed(0)
    workload = _workload(folder, epochs=3, learning_rate=1e-3)
    model, train, test = (
        workload.build_model(),
        workload.instances("train"),
        workload.instances("test"),
    )
    before = losses(workload, model, train, train.supervision, _CPU).mean()
    seen: list[tuple[int, int]] = []
    spent = workload.train(
        model, train, train.supervision, 0, lambda step, of: seen.append((step, of))
    )
    assert spent == 3 * len(train)
    assert seen[-1][0] == seen[-1][1]
    after = losses(workload, model, train, train.supervision, _CPU).mean()
    assert after < before
    found = metrics(workload, model, test, [test.supervision], _CPU)[0]
    assert all(value is not None and value > 0 for value in found)
    (extra,) = extra_scores(workload, model, test, [test.supervision], _CPU)
    assert list(extra) == ["depth", "normals"]
    normals, delta = extra["normals"], extra["depth"]["delta1"]
    assert 0 < (normals["a11.25"] or 0) < (normals["a30"] or 0) < 1
    assert 0 < (delta or 0) < 1


def test_forty_classes_and_images_of_bytes_work_alike(tmp_path: Path) -> None:
    _write(tmp_path, classes=40, frames=1)
    path = tmp_path / "val" / "image" / "0.npy"
    image = (np.load(path) * 255).astype(np.uint8)
    np.save(path, image)
    batch = _workload(tmp_path, classes=40).instances("test").batch(torch.tensor([0]))
    assert batch.targets["segmentation"][batch.targets["segmentation"] != 255].max() > 12
    assert batch.inputs[0, 2, 0, 0] == pytest.approx((image[0, 0, 2] / 255 - 0.406) / 0.225)
    with pytest.raises(WorkloadError, match="beyond 13 classes"):
        _workload(tmp_path).instances("test").batch(torch.tensor([0]))


def test_a_frame_without_a_measurement_teaches_no_such_task(tmp_path: Path) -> None:
    _write(tmp_path, frames=1)
    np.save(tmp_path / "val" / "depth" / "1.npy", np.zeros((_HEIGHT, _WIDTH, 1)))
    np.save(tmp_path / "val" / "normal" / "2.npy", np.full((_HEIGHT, _WIDTH, 3), np.nan))
    np.save(tmp_path / "val" / "label" / "0.npy", np.full((_HEIGHT, _WIDTH), -1))
    supervision = _workload(tmp_path).instances("test").supervision
    assert supervision.tolist() == [[False, True, True], [True, False, True], [True, True, False]]


@pytest.mark.parametrize("gone", ["", "train", "val/depth", "train/normal"])
def test_a_missing_folder_is_named(tmp_path: Path, gone: str) -> None:
    root = tmp_path / "data"
    _write(root)
    (root / gone).rename(tmp_path / "elsewhere")
    with pytest.raises(WorkloadError, match=f"there is no folder .*{gone}"):
        _all_splits(root)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "val" / "depth" / "2.npy").unlink()
    with pytest.raises(WorkloadError, match=r"there is no file .*val/depth/2\.npy"):
        _all_splits(tmp_path)


def _all_splits(folder: Path) -> None:
    workload = _workload(folder, validation_share=0.5)
    splits: tuple[Split, ...] = ("train", "val", "test")
    for split in splits:
        workload.instances(split)


@pytest.mark.parametrize(
    ("kind", "array", "sentence"),
    [
        (
            "image",
            np.zeros((_HEIGHT, _WIDTH)),
            r"has shape \[32, 48\]; it must be height x width x 3",
        ),
        ("image", np.full((_HEIGHT, _WIDTH, 3), np.inf), "NaN or infinite"),
        ("label", np.zeros((_HEIGHT, _WIDTH, 2)), "it must be height x width$"),
        ("label", np.zeros((8, 8)), "has 8 x 8 pixels, but its image has 32 x 48"),
        ("depth", np.array([["far"]]), "where numbers belong"),
        ("normal", np.array([{}], dtype=object), "cannot be read"),
    ],
)
def test_a_file_of_the_wrong_content_is_named(
    tmp_path: Path, kind: str, array: np.ndarray, sentence: str
) -> None:
    _write(tmp_path, frames=1)
    np.save(tmp_path / "val" / kind / "0.npy", array)
    instances = _workload(tmp_path).instances("test")
    with pytest.raises(WorkloadError, match=sentence) as caught:
        instances.batch(torch.tensor([0]))
    assert f"{kind}/0.npy" in str(caught.value) or "image/0.npy" in str(caught.value)


def test_a_split_without_an_image_is_refused(tmp_path: Path) -> None:
    _write(tmp_path)
    with pytest.raises(WorkloadError, match=r"the val split of .* has no image"):
        _workload(tmp_path, validation_share=0).instances("val")


def test_other_numbers_of_classes_are_refused(folder: Path) -> None:
    with pytest.raises(WorkloadError, match="'classes' must be 13 or 40, not 14"):
        _workload(folder, classes=14)
