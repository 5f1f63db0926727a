import hashlib

import pytest
import torch

from engine.errors import WorkloadError
from engine.workloads.tensor_instances import TensorInstances, all_supervised


def _instances(ids: list[str], rows: int = 2) -> TensorInstances:
    return TensorInstances(
        ids=ids,
        subjects=[None] * len(ids),
        inputs=torch.arange(2 * rows, dtype=torch.uint8).view(rows, 2),
        targets={"sex": torch.arange(rows), "age": torch.zeros(rows)},
        supervision=all_supervised(rows, 2),
        prepare=lambda inputs: inputs.float() / 2,
    )


def test_a_batch_holds_prepared_inputs_and_targets_at_the_positions_asked_for() -> None:
    batch = _instances(["a", "b"]).batch(torch.tensor([1, 0, 1]))
    assert batch.inputs.tolist() == [[1.0, 1.5], [0.0, 0.5], [1.0, 1.5]]
    assert batch.targets["sex"].tolist() == [1, 0, 1]


def test_a_digest_is_the_sha256_of_input_and_targets_in_name_order() -> None:
    # input bytes 2 and 3, age as float32 zero, sex as int64 one
    content = bytes([2, 3]) + bytes(4) + (1).to_bytes(8, "little")
    assert _instances(["a", "b"]).digests[1] == hashlib.sha256(content).hexdigest()


def test_a_duplicate_id_is_refused() -> None:
    with pytest.raises(WorkloadError, match="instance id 'a' occurs more than once"):
        _instances(["a", "a"])


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(WorkloadError, match="3 instance ids but 2 inputs"):
        _instances(["a", "b", "c"])
