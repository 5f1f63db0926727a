import pytest

from engine.methods.bad_teacher import unlearn
from tiny_workload import ONE_STEP, linear_problem, weight


def test_a_step_goes_towards_a_fresh_network_on_forget_cells():
    job = linear_problem("both", ONE_STEP)
    outcome = unlearn(job)
    # A fresh network says 0 where the parent says 2; on retain data the parent is its own teacher.
    assert weight(job) == pytest.approx([1.2, 1.0, -0.8])
    assert outcome.gradient_evaluations == 3


def test_a_kept_task_of_a_forgotten_instance_follows_the_parent():
    job = linear_problem("left", ONE_STEP)
    unlearn(job)
    assert weight(job) == pytest.approx([1.6, 1.0, -0.4])
