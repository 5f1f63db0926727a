import pytest

from engine.methods.random_label import unlearn
from tiny_workload import ONE_STEP, linear_problem, weight


def test_a_step_learns_the_target_of_a_retained_instance():
    job = linear_problem("left", ONE_STEP)
    outcome = unlearn(job)
    # Both retained rows have 0 for left: 2 (2 - 0) (1, 0, 1), plus the retain gradient (4, 6, 1/3).
    assert weight(job) == pytest.approx([1.2, 0.4, -13 / 30])
    assert outcome.gradient_evaluations == 4
