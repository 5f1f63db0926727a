import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.subspace import row_space, task_subspaces


@given(
    seed=st.integers(0, 2**31),
    width=st.integers(1, 12),
    tasks=st.integers(1, 4),
    others=st.integers(0, 2),
    rank=st.integers(1, 5),
    shared=st.booleans(),
)
def test_bases_are_orthonormal_and_orthogonal_to_each_other_and_to_what_others_have_taken(
    seed: int, width: int, tasks: int, others: int, rank: int, shared: bool
):
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(3, width, generator=generator)
    gradients = [
        common if shared else torch.randn(3, width, generator=generator)
        for _ in range(tasks + others)
    ]
    bases = task_subspaces(gradients[:tasks], gradients[tasks:], rank)
    joint = torch.cat(bases)
    assert all(len(basis) <= rank for basis in bases)
    assert len(joint) <= width
    identity = torch.eye(len(joint), dtype=torch.float64)
    assert torch.allclose(joint @ joint.T, identity, atol=1e-8)
    empty = torch.zeros(0, width, dtype=torch.float64)
    for other in gradients[tasks : tasks + 1]:  # the first of the others chooses freely
        taken = row_space(other.double(), rank, empty)
        assert torch.allclose(joint @ taken.T, torch.zeros(()).double(), atol=1e-8)


def test_the_main_direction_is_that_of_the_largest_gradients():
    rows = torch.tensor([[0.0, 5.0, 0.0], [1.0, 0.0, 0.0]])
    (basis,) = task_subspaces([rows], [], 1)
    assert basis.abs().tolist() == [pytest.approx([0.0, 1.0, 0.0])]


def test_a_task_without_a_gradient_has_no_direction():
    first, second = task_subspaces([torch.zeros(2, 3), torch.ones(1, 3)], [], 2)
    assert len(first) == 0
    assert len(second) == 1
