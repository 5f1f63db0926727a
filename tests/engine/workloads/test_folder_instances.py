import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.errors import WorkloadError
from engine.workloads.folder_instances import Files, FolderInstances, TargetSource, held_out


def _read(files: Files) -> Tensor:
    """A row of bytes as a picture of one line."""
    return torch.tensor([[float(byte) for byte in files["picture"].read_bytes()]])


def _is_bright(target: Tensor) -> bool:
    return bool((target > 60).any())


_TARGETS = {"bright": TargetSource(_read, _is_bright), "all": TargetSource(_read, None)}


def _instances(folder: Path, *contents: bytes) -> FolderInstances:
    files = []
    for number, content in enumerate(contents):
        (folder / f"{number}").write_bytes(content)
        files.append({"picture": folder / f"{number}"})
    return FolderInstances([str(n) for n in range(len(files))], files, _read, _TARGETS)


def test_a_batch_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    instances = _instances(tmp_path, b"\x01\x02", b"\x03\x04", b"\x05\x06")
    (tmp_path / "2").write_bytes(b"\x07\x08")
    batch = instances.batch(torch.tensor([2, 0]))
    assert batch.inputs.tolist() == [[[7, 8]], [[1, 2]]]
    assert batch.targets["all"].tolist() == [[[7, 8]], [[1, 2]]]
    assert len(instances) == 3


def test_an_instance_s_digest_is_that_of_its_files(tmp_path: Path) -> None:
    instances = _instances(tmp_path, b"a", b"b", b"a")
    expected = [hashlib.sha256(hashlib.sha256(c).digest()).hexdigest() for c in (b"a", b"b", b"a")]
    assert instances.digests == expected


def test_a_target_without_a_label_is_no_supervision(tmp_path: Path) -> None:
    instances = _instances(tmp_path, b"AA", b"\x01\x01")
    assert instances.supervision.tolist() == [[True, True], [False, True]]


def test_a_missing_file_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"there is no file .*gone"):
        FolderInstances(["x"], [{"picture": tmp_path / "gone"}], _read, _TARGETS)


def test_images_of_unlike_sizes_are_refused(tmp_path: Path) -> None:
    instances = _instances(tmp_path, b"ab", b"abc")
    with pytest.raises(WorkloadError, match=r"1 has 1 x 3 pixels, but .*0 has 1 x 2"):
        instances.batch(torch.tensor([0, 1]))


def test_a_target_of_another_size_than_its_image_is_refused(tmp_path: Path) -> None:
    instances = _instances(tmp_path, b"ab")
    instances.targets = {"half": TargetSource(lambda files: _read(files)[:, :1], None)}
    with pytest.raises(WorkloadError, match=r"the half of .*0 has 1 x 1 pixels.* has 1 x 2"):
        instances.batch(torch.tensor([0]))


def test_about_the_share_is_held_out_whatever_else_there_is() -> None:
    names = [f"image-{number}" for number in range(2000)]
    held = [name for name in names if held_out(name, 0.2)]
    assert 340 < len(held) < 460
    assert set(held) < {name for name in names if held_out(name, 0.3)}
    assert not any(held_out(name, 0.0) for name in names)
