from pathlib import Path

import pytest
import torch

from engine.saved_state import SavedState, Snapshot

SNAPSHOT = Snapshot(
    {"weights": torch.tensor([1.5, -2.0]), "generator": torch.tensor([1, 2], dtype=torch.uint8)},
    {"steps": 60, "candidates": {"best": [0.1, False]}},
)


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    SavedState(path, "job").save(SNAPSHOT)
    saved = SavedState(path, "job")
    found = saved.load()
    assert found is not None
    assert found.values == SNAPSHOT.values
    assert {n: t.tolist() for n, t in found.tensors.items()} == {
        n: t.tolist() for n, t in SNAPSHOT.tensors.items()
    }
    assert saved.resumed_at == 60
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_state_of_another_job_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.safetensors"
    SavedState(path, "job").save(SNAPSHOT)
    saved = SavedState(path, "another")
    assert saved.load() is None
    assert saved.resumed_at is None
    assert "of another job" in caplog.text


@pytest.mark.parametrize("content", [b"", b"not a state", b"\x00" * 200])
def test_a_file_that_cannot_be_read_starts_the_job_anew(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    assert SavedState(path, "job").load() is None
    assert "starting anew" in caplog.text


def test_it_is_due_every_so_many_steps_and_never_without_a_path(tmp_path: Path) -> None:
    saved = SavedState(tmp_path / "state.safetensors", "job", every=50)
    assert next(step for step in range(10, 200, 10) if saved.is_due(step)) == 50
    saved.save(SNAPSHOT)  # of step 60
    assert not saved.is_due(100)
    assert saved.is_due(110)
    assert not SavedState().is_due(1000)
    assert SavedState().load() is None
