import hashlib
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.checkpoint import load_weights, write_weights
from engine.errors import CheckpointError


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_what_was_written_loads_again_in_plain_torch(tmp_path: Path) -> None:
    network = _network()
    written = write_weights(network.state_dict(), tmp_path / "w.safetensors")
    content = written.path.read_bytes()
    assert written.sha256 == hashlib.sha256(content).hexdigest()
    assert written.size == len(content)
    network.load_state_dict(load_file(written.path), strict=True)
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    load_weights(other, written.path)
    assert all(torch.equal(t, other.state_dict()[key]) for key, t in network.state_dict().items())


def test_the_same_tensors_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    state = _network().state_dict()
    first = write_weights(state, tmp_path / "a")
    second = write_weights(dict(reversed(state.items())), tmp_path / "b")
    assert first.sha256 == second.sha256


def test_tied_and_transposed_weights_are_written(tmp_path: Path) -> None:
    weight = torch.arange(6.0).view(2, 3)
    write_weights({"a": weight, "b": weight, "c": weight.T}, tmp_path / "w")
    assert torch.equal(load_file(tmp_path / "w")["c"], weight.T)


def test_a_weight_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="tensor 'w' holds a value that is NaN or infinite"):
        write_weights({"w": torch.tensor([1.0, math.nan])}, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_weights(_network().state_dict(), tmp_path / "w")
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def _changed(state: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Tensor]:
    renamed = {name.replace("_", ".", 1): tensor for name, tensor in changes.items()}
    return {key: tensor for key, tensor in {**state, **renamed}.items() if tensor is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"0_weight": None}, r"tensor '0.weight' is missing \(1 in all\)"),
        ({"2_bias": torch.zeros(1)}, "tensor '2.bias' is not part of the network"),
        (
            {"0_weight": torch.zeros(4, 2)},
            r"tensor '0.weight' is F32 \[4, 2\] in w, but the network has F32 \[4, 3\]",
        ),
        ({"0_bias": torch.zeros(4, dtype=torch.float16)}, r"'0.bias' is F16 \[4\] in w"),
        ({"0_bias": torch.full((4,), torch.inf)}, "'0.bias' holds a value that is NaN or infinite"),
    ],
)
def test_the_first_difference_is_named_and_the_network_stays_as_it_was(
    tmp_path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    network = _network()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    save_file(_changed(dict(before), **changes), tmp_path / "w")
    with pytest.raises(CheckpointError, match=message):
        load_weights(network, tmp_path / "w")
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_a_truncated_or_missing_file_is_refused(tmp_path: Path) -> None:
    written = write_weights(_network().state_dict(), tmp_path / "w")
    written.path.write_bytes(written.path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="w is not a readable safetensors file"):
        load_weights(_network(), tmp_path / "w")
    with pytest.raises(CheckpointError, match="there is no weights file at"):
        load_weights(_network(), tmp_path / "nothing")


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save(_network().state_dict(), tmp_path / "w")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_weights(_network(), tmp_path / "w")
