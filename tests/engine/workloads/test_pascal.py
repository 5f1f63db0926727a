from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from engine.errors import WorkloadError
from engine.evaluation import metrics
from engine.workloads.pascal import PascalWorkload

_HEIGHT, _WIDTH = 40, 60
_SIDE = 64
_CPU = torch.device("cpu")
_WALL, _SKY = 440, 360
_PERSON, _DOG = 15, 12


def _thing(category: int, mask: NDArray[np.uint8], parts: dict[str, NDArray[np.uint8]]) -> Any:
    """One object of a PASCAL-Part annotation, as MATLAB lays structures out."""
    part_array: NDArray[Any]
    if parts:
        part_array = np.empty((1, len(parts)), dtype=[("part_name", "O"), ("mask", "O")])
        for column, (name, part_mask) in enumerate(parts.items()):
            part_array[0, column] = (name, part_mask)
    else:
        part_array = np.zeros((0, 0))
    return ("thing", np.array([[category]], np.uint8), mask, part_array)


def _write_parts(path: Path, things: list[Any]) -> None:
    objects = np.empty(
        (1, len(things)), dtype=[("class", "O"), ("class_ind", "O"), ("mask", "O"), ("parts", "O")]
    )
    for column, thing in enumerate(things):
        objects[0, column] = thing
    anno = np.empty((1, 1), dtype=[("imname", "O"), ("objects", "O")])
    anno[0, 0] = (path.stem, objects)
    savemat(path, {"anno": anno})


def _box(top: int, bottom: int) -> NDArray[np.uint8]:
    mask = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    mask[top:bottom, 20:40] = 1
    return mask


_BODY = {"head": _box(0, 10), "torso": _box(10, 20), "lhand": _box(20, 30), "rfoot": _box(30, 40)}


def _write_image(root: Path, name: str, random: np.random.Generator, semseg: str) -> None:
    """A person on the left of a wall, sky on the right; one image in the standard layout."""
    folders = {
        key: root / path
        for key, path in {
            "image": "JPEGImages",
            "semseg": f"semseg/{semseg}",
            "parts": "human_parts",
            "context": "pascal-context/trainval",
            "normals": "normals_distill",
            "saliency": "sal_distill",
        }.items()
    }
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    size = (_HEIGHT, _WIDTH)
    colours = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(colours).save(folders["image"] / f"{name}.jpg")
    labels = np.zeros(size, np.uint8)
    labels[:, 20:40] = _PERSON
    labels[0] = 255
    palette = Image.fromarray(labels).convert("P")
    palette.putdata(labels.flatten().tolist())
    palette.save(folders["semseg"] / f"{name}.png")
    _write_parts(
        folders["parts"] / f"{name}.mat",
        [_thing(_DOG, _box(0, 40), {"head": _box(0, 40)}), _thing(_PERSON, _box(0, 40), _BODY)],
    )
    context = np.full(size, _WALL, np.uint16)
    context[:, 30:] = _SKY
    savemat(folders["context"] / f"{name}.mat", {"LabelMap": context})
    facing = np.full((*size, 3), 128, np.uint8)
    facing[:, :, 2] = 255
    Image.fromarray(facing).save(folders["normals"] / f"{name}.png")
    Image.fromarray((labels == _PERSON).astype(np.uint8) * 200).save(
        folders["saliency"] / f"{name}.png"
    )


def _write(root: Path, train: int = 8, test: int = 2) -> Path:
    random = np.random.default_rng(0)
    lists = root / "ImageSets" / "Context"
    lists.mkdir(parents=True)
    for part, year, count in (("train", 2008, train), ("val", 2010, test)):
        names = [f"{year}_{number:06d}" for number in range(count)]
        (lists / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
        for number, name in enumerate(names):
            _write_image(root, name, random, ("VOC12", "pascal-context")[number % 2])
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("pascal"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder to break."""
    return _write(tmp_path, train=1, test=2)


def _workload(folder: Path, **options: object) -> PascalWorkload:
    small = {"resolution": _SIDE, "width": 8, "epochs": 1, "batch_size": 4}
    return PascalWorkload(str(folder), **(small | options))  # type: ignore[arg-type]


def _target(folder: Path, task: str, index: int = 0) -> torch.Tensor:
    return _workload(folder).instances("test").batch(torch.tensor([index])).targets[task][0]


def test_the_splits_are_train_a_fixed_part_of_it_and_val(folder: Path) -> None:
    workload = _workload(folder, validation_share=0.3)
    train, val, test = (list(workload.instances(s).ids) for s in ("train", "val", "test"))
    assert sorted(train + val) == [f"2008_{number:06d}" for number in range(8)]
    assert train
    assert val
    assert test == ["2010_000000", "2010_000001"]


def test_a_batch_holds_five_targets_of_the_image_s_size(folder: Path) -> None:
    batch = _workload(folder).instances("test").batch(torch.tensor([0, 1]))
    assert batch.inputs.shape == (2, 3, _SIDE, _SIDE)
    assert {name: tuple(target.shape) for name, target in batch.targets.items()} == {
        "semseg": (2, _SIDE, _SIDE),
        "human_parts": (2, _SIDE, _SIDE),
        "saliency": (2, _SIDE, _SIDE),
        "edges": (2, _SIDE, _SIDE),
        "normals": (2, 3, _SIDE, _SIDE),
    }


@pytest.mark.parametrize("index", [0, 1])
def test_semseg_comes_from_either_folder(folder: Path, index: int) -> None:
    semseg = _target(folder, "semseg", index)
    assert semseg.unique().tolist() == [0, _PERSON, 255]
    assert semseg[_SIDE // 2, _SIDE // 2] == _PERSON
    assert semseg[0, 0] == 255


def test_parts_of_people_are_grouped_into_six_and_a_dog_has_none(folder: Path) -> None:
    parts = _target(folder, "human_parts")
    column = parts[:, _SIDE // 2]
    assert [int(column[row]) for row in (5, 20, 38, 60)] == [1, 2, 4, 6]
    assert parts[:, 2].unique().tolist() == [0]


def test_salient_is_above_the_middle_grey(folder: Path) -> None:
    saliency = _target(folder, "saliency")
    assert saliency[5, _SIDE // 2] == 1
    assert saliency[5, 2] == 0


def test_edges_are_one_line_where_two_classes_meet(folder: Path) -> None:
    edges = _target(folder, "edges")
    lit = edges.any(0).nonzero().flatten().tolist()
    assert lit
    assert all(abs(column - _SIDE // 2) <= 2 for column in lit)
    assert edges[_SIDE // 2].sum() in (1, 2)  # a pixel of the file can be two of the square


def test_normals_are_kept_in_classes_known_indoors_only(folder: Path) -> None:
    normals = _target(folder, "normals")
    wall, sky = normals[:, 10, 5], normals[:, 10, 60]
    assert wall.tolist() == pytest.approx([0.004, 0.004, 1.0], abs=1e-3)
    assert sky.tolist() == [0, 0, 0]


def test_training_and_evaluation_run_on_the_files(folder: Path) -> None:
    torch.manual_seed(0)
    workload = _workload(folder)
    model, train, test = (
        workload.build_model(),
        workload.instances("train"),
        workload.instances("test"),
    )
    assert train.supervision.all()
    assert workload.train(model, train, train.supervision, 0, lambda step, of: None) == len(train)
    found = metrics(workload, model, test, [test.supervision], _CPU)[0]
    assert len(found) == 5
    assert all(value is not None for value in found)


def test_an_image_without_people_or_known_surfaces_teaches_neither(own: Path) -> None:
    _write_parts(own / "human_parts" / "2010_000000.mat", [_thing(_DOG, _box(0, 40), {})])
    _write_parts(own / "human_parts" / "2010_000001.mat", [_thing(_PERSON, _box(0, 40), {})])
    sky = np.full((_HEIGHT, _WIDTH), _SKY, np.uint16)
    savemat(own / "pascal-context" / "trainval" / "2010_000000.mat", {"LabelMap": sky})
    instances = _workload(own).instances("test")
    assert instances.supervision.tolist() == [
        [True, False, True, True, False],
        [True, False, True, True, True],
    ]
    assert (_target(own, "human_parts") == 255).all()
    assert not _target(own, "edges").any()


@pytest.mark.parametrize(
    "gone",
    [
        "ImageSets/Context/val.txt",
        "JPEGImages/2010_000001.jpg",
        "semseg/pascal-context/2010_000001.png",
        "human_parts/2010_000000.mat",
        "pascal-context/trainval/2010_000000.mat",
        "normals_distill/2010_000000.png",
        "sal_distill/2010_000000.png",
    ],
)
def test_a_missing_file_is_named(own: Path, gone: str) -> None:
    (own / gone).unlink()
    with pytest.raises(WorkloadError, match=f"there is no file .*{gone}"):
        _workload(own).instances("test")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"there is no folder .*nowhere"):
        _workload(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "broken",
    [
        "JPEGImages/2010_000000.jpg",
        "semseg/VOC12/2010_000000.png",
        "human_parts/2010_000000.mat",
        "pascal-context/trainval/2010_000000.mat",
        "normals_distill/2010_000000.png",
        "sal_distill/2010_000000.png",
    ],
)
@pytest.mark.parametrize("content", [b"", b"not such a file"])
def test_a_file_that_cannot_be_read_is_named(own: Path, broken: str, content: bytes) -> None:
    (own / broken).write_bytes(content)
    with pytest.raises(WorkloadError, match=f"{broken} cannot be read"):
        _workload(own).instances("test").batch(torch.tensor([0]))


def test_a_file_of_the_wrong_content_is_named(own: Path) -> None:
    instances = _workload(own).instances("test")
    context = own / "pascal-context" / "trainval" / "2010_000000.mat"
    good = context.read_bytes()
    savemat(context, {"Other": np.zeros(3)})
    with pytest.raises(WorkloadError, match="has no variable 'LabelMap'"):
        instances.batch(torch.tensor([0]))
    context.write_bytes(good)
    parts = own / "human_parts" / "2010_000000.mat"
    _write_parts(parts, [_thing(_PERSON, _box(0, 40), {"tail": _box(0, 40)})])
    with pytest.raises(WorkloadError, match="is not an annotation of PASCAL-Part"):
        instances.batch(torch.tensor([0]))
    _write_parts(parts, [_thing(_PERSON, _box(0, 40), _BODY)])
    semseg = own / "semseg" / "VOC12" / "2010_000000.png"
    Image.fromarray(np.full((_HEIGHT, _WIDTH), 21, np.uint8)).save(semseg)
    with pytest.raises(WorkloadError, match="has the label 21, beyond 21 classes"):
        instances.batch(torch.tensor([0]))
    Image.fromarray(np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)).save(semseg)
    with pytest.raises(WorkloadError, match="must have 1 channel"):
        instances.batch(torch.tensor([0]))


def test_a_list_that_names_an_image_twice_is_refused(own: Path) -> None:
    (own / "ImageSets" / "Context" / "val.txt").write_text("2010_000000\n2010_000000\n")
    with pytest.raises(WorkloadError, match="names an image twice"):
        _workload(own).instances("test")


def test_a_side_that_the_backbone_cannot_halve_five_times_is_refused(folder: Path) -> None:
    with pytest.raises(WorkloadError, match="'resolution' must be a multiple of 32"):
        _workload(folder, resolution=500)
