import pytest
import torch

from engine.methods.pcgrad_unlearn import surgery, unlearn
from tiny_workload import ONE_STEP, linear_problem, weight


def test_a_step_cuts_the_conflict_out_of_both_sides():
    retain = torch.tensor([[False, False], [True, False], [True, False], [False, False]])
    job = linear_problem("both", {**ONE_STEP, "forget_weight": 1.0}, retain)
    outcome = unlearn(job)
    # f = (-3, 0, -3) and left (3, 4, 0) meet at -9: f + 9/25 left, left + 9/18 f.
    assert weight(job) == pytest.approx([2.042, 0.456, 0.45])
    assert outcome.gradient_evaluations == 3


def test_the_order_of_meetings_decides_between_three():
    gradients = [torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, -2.0])]
    # The first alone is operated: it meets the second, (.5, .5), then the third, + 1.5/5 of it.
    first = surgery(gradients, [[1, 2, 0], [], []])
    assert first.tolist() == pytest.approx([0.2 - 2, -0.1 - 1])
    # The second alone: it meets the third, (-1.2, .6), then the first.
    second = surgery(gradients, [[], [2, 0, 1], []])
    assert second.tolist() == pytest.approx([0.0, 0.6 - 2])


def test_without_a_conflict_it_is_the_sum():
    gradients = [torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])]
    assert surgery(gradients, [[0, 1], [0, 1]]).tolist() == [2.0, 1.0]
