import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.projection import complement, cone

DIMENSIONS = 24


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """A direction, and rows of which some repeat, oppose or shrink others, or are zero."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows = torch.randn(draw(st.integers(1, 12)), DIMENSIONS, generator=generator)
    for k in range(1, len(rows)):
        rows[k] = rows[k] + draw(st.sampled_from([0.0, 0.0, 2.0, -2.0])) * rows[k - 1]
    rows = rows * draw(st.sampled_from([1e-4, 1.0, 1e4]))
    if draw(st.booleans()):
        rows[0] = 0
    return torch.randn(DIMENSIONS, generator=generator), rows


@settings(deadline=None)
@given(problems())
def test_no_row_loss_rises_along_a_direction_projected_on_the_cone(
    problem: tuple[Tensor, Tensor],
) -> None:
    direction, rows = problem
    units = torch.nn.functional.normalize(rows, dim=1)
    assert (units @ cone(direction, rows)).max() < 0.01 * direction.norm()


@settings(deadline=None)
@given(problems())
def test_the_cone_moves_a_direction_no_further_than_the_complement(
    problem: tuple[Tensor, Tensor],
) -> None:
    direction, rows = problem
    free = (cone(direction, rows) - direction).norm()
    assert free <= (complement(direction, rows) - direction).norm() + 1e-2 * direction.norm()


@settings(deadline=None)
@given(problems())
def test_the_cone_leaves_alone_what_it_has_projected(problem: tuple[Tensor, Tensor]) -> None:
    direction, rows = problem
    once = cone(direction, rows)
    assert torch.allclose(cone(once, rows), once, atol=0.02 * float(direction.norm()))


def test_a_harmless_direction_is_unchanged_by_the_cone() -> None:
    rows = torch.eye(3)
    direction = torch.tensor([-1.0, -2.0, 0.0])
    assert torch.equal(cone(direction, rows), direction)


def test_the_cone_removes_only_the_harmful_part() -> None:
    rows = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    assert cone(torch.tensor([3.0, -1.0]), rows).tolist() == pytest.approx([0, -1], abs=1e-5)


@settings(deadline=None)
@given(problems())
def test_the_complement_is_orthogonal_to_every_row_and_idempotent(
    problem: tuple[Tensor, Tensor],
) -> None:
    direction, rows = problem
    once = complement(direction, rows)
    units = torch.nn.functional.normalize(rows, dim=1)
    assert (units @ once).abs().max() < 0.01 * direction.norm()
    assert torch.allclose(complement(once, rows), once, atol=1e-4 * float(direction.norm()))


@pytest.mark.parametrize("project", [cone, complement])
def test_rows_of_zeros_forbid_nothing(project) -> None:  # type: ignore[no-untyped-def]
    direction = torch.tensor([1.0, 2.0])
    assert torch.equal(project(direction, torch.zeros(4, 2)), direction)
