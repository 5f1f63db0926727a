from pathlib import Path

import pytest
import torch

from engine.gradient_rows import GradientRows
from engine.projection import complement, complement_weights, cone, cone_weights

CPU = torch.device("cpu")
LAYERS = (5, 1, 18)


def kept(most_bytes: int, gradients: torch.Tensor) -> GradientRows:
    rows = GradientRows(4, LAYERS, CPU, most_bytes)
    for gradient in gradients:
        rows.add(gradient)
    return rows


def memory_of_mappings() -> list[str]:
    """The lines of this process's memory map that are of temporary files."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "deleted" in line]


@pytest.mark.parametrize("most_bytes", [10_000, 0], ids=["in memory", "in a file"])
def test_directions_are_projected_against_the_newest_rows(most_bytes: int) -> None:
    gradients = torch.randn(6, 24, generator=torch.Generator().manual_seed(1))
    direction = torch.randn(24, generator=torch.Generator().manual_seed(2))
    rows = kept(most_bytes, gradients)
    newest = gradients[2:]
    for project, weigh in ((cone, cone_weights), (complement, complement_weights)):
        expected = project(direction, newest)
        assert not torch.allclose(expected, direction)
        assert torch.allclose(rows.project(direction, weigh), expected, atol=1e-5)


@pytest.mark.parametrize("most_bytes", [10_000, 0], ids=["in memory", "in a file"])
def test_rows_that_are_cleared_or_not_there_yet_forbid_nothing(most_bytes: int) -> None:
    direction = torch.ones(24)
    rows = kept(most_bytes, torch.zeros(0, 24))
    assert torch.equal(rows.project(direction, cone_weights), direction)
    rows.add(torch.ones(24))
    assert float(rows.project(direction, cone_weights).norm()) < 1e-3
    rows.clear()
    assert torch.equal(rows.project(direction, cone_weights), direction)


@pytest.mark.parametrize("most_bytes", [10_000, 0], ids=["in memory", "in a file"])
def test_rows_are_gone_on_with_elsewhere(most_bytes: int) -> None:
    gradients = torch.randn(6, 24, generator=torch.Generator().manual_seed(3))
    rows, other = kept(most_bytes, gradients[:5]), kept(most_bytes, torch.zeros(0, 24))
    other.restore({name: tensor.clone() for name, tensor in rows.tensors().items()}, rows.next)
    for each in (rows, other):
        each.add(gradients[5])
    direction = torch.ones(24)
    ours, theirs = (each.project(direction, complement_weights) for each in (rows, other))
    assert torch.equal(ours, theirs)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system has no memory maps")
def test_rows_that_are_too_much_for_memory_lie_in_files_that_go_with_them() -> None:
    before = len(memory_of_mappings())
    in_memory = kept(4 * 4 * 24, torch.zeros(0, 24))
    assert not in_memory.is_streamed
    assert len(memory_of_mappings()) == before
    in_file = kept(4 * 4 * 24 - 1, torch.zeros(0, 24))
    assert in_file.is_streamed
    assert len(memory_of_mappings()) == before + len(LAYERS)
    del in_file
    assert len(memory_of_mappings()) == before
