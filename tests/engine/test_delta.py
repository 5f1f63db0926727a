import copy
import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

from engine.checkpoint import write_weights
from engine.delta import restore, write_delta
from engine.errors import CheckpointError
from engine.tensor_coding import WIDTHS, decode, decode_whole, encode, encode_whole
from engine.workloads.digits import DigitsWorkload
from engine.workloads.recipe import Recipe, fit

_MANY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def _write(folder: Path, name: str, state: Mapping[str, Tensor]) -> Path:
    return write_weights(state, folder / name).path


def _weights(seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "layer.weight": torch.randn(24, 40, generator=random),
        "layer.bias": torch.randn(24, generator=random),
        "norm.count": torch.tensor(7),
        "half": torch.randn(9, 5, generator=random).half(),
        "brain": torch.randn(9, 5, generator=random).bfloat16(),
        "double": torch.randn(9, generator=random, dtype=torch.float64),
        "mask": torch.rand(11, generator=random) > 0.5,
        "empty": torch.zeros(0, 3),
    }


def _restored(folder: Path, parent: Path, child: Path) -> dict[str, int]:
    """Through a delta and back; the kinds of its tensors."""
    summary = write_delta(parent, child, folder / "step.delta")
    written = restore(parent, folder / "step.delta", folder / "restored")
    assert (folder / "restored").read_bytes() == child.read_bytes()
    assert written.sha256 == summary.child_sha256
    assert written.size == child.stat().st_size
    assert summary.file.size == (folder / "step.delta").stat().st_size
    assert summary.share == summary.file.size / written.size
    return dict(summary.tensors)


def test_a_child_of_many_types_is_restored_byte_for_byte(tmp_path: Path) -> None:
    parent, child = _write(tmp_path, "parent", _weights(0)), _write(tmp_path, "child", _weights(1))
    kinds = _restored(tmp_path, parent, child)
    assert kinds["same"] >= 2  # the count and the empty tensor


def test_a_copy_costs_no_tensor(tmp_path: Path) -> None:
    parent, child = _write(tmp_path, "parent", _weights(0)), _write(tmp_path, "child", _weights(0))
    assert _restored(tmp_path, parent, child) == {"same": 8}


def test_few_changes_are_stored_as_few_changes(tmp_path: Path) -> None:
    state = {"weight": torch.randn(100, 100, generator=torch.Generator().manual_seed(0))}
    parent = _write(tmp_path, "parent", state)
    state["weight"].view(-1)[::500] += 0.01
    child = _write(tmp_path, "child", state)
    assert _restored(tmp_path, parent, child) == {"sparse": 1}
    assert (tmp_path / "step.delta").stat().st_size < 1200


def test_a_merged_low_rank_update_is_stored_as_factors_and_a_small_residual(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(128, 256, generator=random)
    parent = _write(tmp_path, "parent", {"weight": weight})
    left, right = (torch.randn(n, 2, generator=random) * 0.1 for n in (128, 256))
    child = _write(tmp_path, "child", {"weight": weight + left @ right.T})
    assert _restored(tmp_path, parent, child) == {"low_rank": 1}
    assert (tmp_path / "step.delta").stat().st_size < 0.15 * child.stat().st_size


def test_tensors_that_are_new_or_of_another_shape_are_stored_whole(tmp_path: Path) -> None:
    parent = _write(tmp_path, "parent", {"a": torch.ones(3), "b": torch.ones(2)})
    child = _write(tmp_path, "child", {"a": torch.ones(4), "c": torch.ones(2).double()})
    assert _restored(tmp_path, parent, child) == {"whole": 2}


def test_a_file_of_another_writer_keeps_its_metadata_and_order(tmp_path: Path) -> None:
    parent = _write(tmp_path, "parent", {"a": torch.ones(3)})
    child = tmp_path / "child"
    save_file({"z": np.arange(3.0), "a": np.ones(3, np.float32)}, child, {"by": "someone"})
    _restored(tmp_path, parent, child)


def test_the_same_files_give_the_same_delta(tmp_path: Path) -> None:
    parent, child = _write(tmp_path, "parent", _weights(0)), _write(tmp_path, "child", _weights(1))
    write_delta(parent, child, tmp_path / "one")
    write_delta(parent, child, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("dtype", sorted(WIDTHS))
@given(data=st.data())
@_MANY
def test_any_bits_survive_the_coding(dtype: str, data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(0,), (1,), (7,), (3, 5), (9, 2, 2)]))
    size = int(np.prod(shape)) * WIDTHS[dtype]
    drawn = arrays.arrays(np.uint8, size)
    parent, child = data.draw(drawn), data.draw(drawn)
    payload = encode(parent, child, dtype, shape)
    assert np.array_equal(decode(parent, payload, dtype, shape), child)
    whole = encode_whole(child, dtype)
    assert np.array_equal(decode_whole(whole, dtype, size // WIDTHS[dtype]), child)


@given(
    scale=st.floats(-8, 2),
    rank=st.integers(0, 4),
    share=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    seed=st.integers(0, 2**16),
)
@_MANY
def test_updates_of_any_size_rank_and_density_survive_the_coding(
    scale: float, rank: int, share: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    parent = random.standard_normal((48, 56)).astype(np.float32)
    low_rank = random.standard_normal((48, rank)) @ random.standard_normal((rank, 56))
    scattered = random.standard_normal(parent.shape) * (random.random(parent.shape) < share)
    child = (parent + 10**scale * (low_rank + scattered)).astype(np.float32)
    before, after = (array.reshape(-1).view(np.uint8) for array in (parent, child))
    payload = encode(before, after, "F32", parent.shape)
    assert np.array_equal(decode(before, payload, "F32", parent.shape), after)


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@_MANY
def test_a_damaged_delta_restores_the_child_or_nothing(
    tmp_path: Path, place: float, flip: int
) -> None:
    parent, child = _write(tmp_path, "parent", _weights(0)), _write(tmp_path, "child", _weights(1))
    write_delta(parent, child, tmp_path / "step.delta")
    content = bytearray((tmp_path / "step.delta").read_bytes())
    content[int(place * len(content))] ^= flip
    (tmp_path / "damaged").write_bytes(content)
    (tmp_path / "restored").unlink(missing_ok=True)
    try:
        restore(parent, tmp_path / "damaged", tmp_path / "restored")
    except CheckpointError:
        assert not (tmp_path / "restored").exists()
    else:
        assert (tmp_path / "restored").read_bytes() == child.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@given(kept=st.floats(0, 1, exclude_max=True))
@_MANY
def test_a_payload_cut_short_is_refused(kept: float) -> None:
    parent, child = np.arange(64, dtype=np.uint8), np.arange(64, 128, dtype=np.uint8)
    payload = encode(parent, child, "F32", (4, 4))
    with pytest.raises(CheckpointError):
        decode(parent, payload[: int(kept * len(payload))], "F32", (4, 4))


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"", "ends too early"),
        (b"\x09", "unknown kind"),
        (b"\x04", "unknown kind"),
        (b"\x03\x01", "cannot have them"),
        (b"\x01\x07" + bytes(8), "unknown coder"),
        (b"\x01\x02" + (3).to_bytes(8, "little") + b"abc", "cannot be decoded"),
        (b"\x01" + 2 * (b"\x00" + bytes(8)), "0 bytes where 1 belong"),
        (b"\x01" + 2 * (b"\x00\x01" + bytes(8)) + b"!", "left over"),
    ],
)
def test_a_payload_that_makes_no_sense_says_why(payload: bytes, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        decode(np.zeros(2, np.uint8), payload, "F16", (1,))


def test_a_difference_is_no_whole_tensor() -> None:
    with pytest.raises(CheckpointError, match="lacks its parent's tensor"):
        decode_whole(b"\x01", "F32", 1)


def test_a_delta_with_a_foreign_tensor_or_of_another_format_is_refused(tmp_path: Path) -> None:
    parent, child = _write(tmp_path, "parent", _weights(0)), _write(tmp_path, "child", _weights(1))
    write_delta(parent, child, tmp_path / "step.delta")
    with safe_open(tmp_path / "step.delta", framework="numpy") as file:
        metadata = json.loads(file.metadata()["expunge_delta"])
        payloads = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    changed = {"expunge_delta": json.dumps(metadata)}
    save_file(payloads | {"stranger": np.zeros(1, np.uint8)}, tmp_path / "more", changed)
    with pytest.raises(CheckpointError, match=r"more is damaged: .* unknown tensor 'stranger'"):
        restore(parent, tmp_path / "more", tmp_path / "restored")
    newer = {"expunge_delta": json.dumps(metadata | {"format": 2})}
    save_file(payloads, tmp_path / "newer", newer)
    with pytest.raises(CheckpointError, match="newer is a delta of the unknown format 2"):
        restore(parent, tmp_path / "newer", tmp_path / "restored")


def test_another_parent_is_refused(tmp_path: Path) -> None:
    files = [_write(tmp_path, f"version-{seed}", _weights(seed)) for seed in range(3)]
    write_delta(files[0], files[1], tmp_path / "step.delta")
    with pytest.raises(CheckpointError, match=r"made from a parent .* not from version-2"):
        restore(files[2], tmp_path / "step.delta", tmp_path / "restored")


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    parent = _write(tmp_path, "parent", _weights(0))
    with pytest.raises(CheckpointError, match="no delta at"):
        restore(parent, tmp_path / "nowhere", tmp_path / "restored")
    with pytest.raises(CheckpointError, match="parent is not a delta"):
        restore(parent, parent, tmp_path / "restored")
    with pytest.raises(CheckpointError, match="no weights file"):
        write_delta(parent, tmp_path / "nowhere", tmp_path / "step.delta")
    (tmp_path / "cut").write_bytes(parent.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cut is not a whole safetensors file"):
        write_delta(parent, tmp_path / "cut", tmp_path / "step.delta")
    (tmp_path / "text").write_text("not weights at all")
    with pytest.raises(CheckpointError, match="header of text cannot be read"):
        write_delta(tmp_path / "text", parent, tmp_path / "step.delta")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [1]},
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, entry: dict[str, object]) -> None:
    header = json.dumps({"weight": entry}).encode()
    (tmp_path / "liar").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    parent = _write(tmp_path, "parent", {"weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match="liar"):
        write_delta(parent, tmp_path / "liar", tmp_path / "step.delta")


def test_a_chain_of_deltas_of_a_real_model_leads_back_to_each_version(tmp_path: Path) -> None:
    torch.manual_seed(0)
    workload = DigitsWorkload(hidden=64)
    model, train = workload.build_model(), workload.instances("train")
    versions = [_write(tmp_path, "version-0", model.state_dict())]
    for number in (1, 2, 3):
        model = copy.deepcopy(model)
        fit(workload, model, train, train.supervision, Recipe(1, learning_rate=1e-4), 0, _silent)
        versions.append(_write(tmp_path, f"version-{number}", model.state_dict()))
        write_delta(versions[-2], versions[-1], tmp_path / f"delta-{number}")
    current = versions[0]
    for number, (_, version) in enumerate(itertools.pairwise(versions), start=1):
        delta = tmp_path / f"delta-{number}"
        current = restore(current, delta, tmp_path / f"restored-{number}").path
        assert current.read_bytes() == version.read_bytes()
        assert delta.stat().st_size < 0.7 * version.stat().st_size


def _silent(_step: int, _of: int) -> None:
    pass
