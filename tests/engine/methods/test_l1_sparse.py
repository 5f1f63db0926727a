import pytest

from engine.methods.l1_sparse import unlearn
from tiny_workload import ONE_STEP, linear_problem, weight


def test_a_step_adds_the_penalty_to_the_retain_gradient():
    job = linear_problem("both", {**ONE_STEP, "gamma": 0.5})
    unlearn(job)
    # (4, 7, 0) + .5 sign(2, 1, 0)
    assert weight(job) == pytest.approx([1.55, 0.25, 0.0])


def test_the_penalty_falls_in_a_line():
    job = linear_problem("both", {**ONE_STEP, "gamma": 0.5, "min_steps": 2})
    unlearn(job)
    # At (1.55, .25, 0) rows 1, 2 are at .25, 1.8: left (1.8, 2.05, 0), right (-.2, 1.05, 0).
    assert weight(job) == pytest.approx([1.55 - 0.0525 * 1.85, 0.25 - 0.0525 * 3.35, 0.0])
