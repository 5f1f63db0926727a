import pytest

from engine.methods.neggrad_plus import unlearn
from tiny_workload import ONE_STEP, linear_problem, weight


def test_a_step_mixes_retain_descent_with_forget_ascent():
    job = linear_problem("both", {**ONE_STEP, "beta": 0.75})
    outcome = unlearn(job)
    # .75 (4, 7, 0) - .25 (3, 0, 3)
    assert weight(job) == pytest.approx([2 - 0.225, 1 - 0.525, 0.075])
    assert outcome.gradient_evaluations == 3
