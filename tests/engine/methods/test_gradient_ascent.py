import pytest

from engine.errors import Diverged
from engine.methods.gradient_ascent import unlearn
from tiny_workload import ONE_STEP, linear_problem, weight


def test_a_step_ascends_the_forget_loss():
    job = linear_problem("both", ONE_STEP)
    outcome = unlearn(job)
    assert weight(job) == pytest.approx([2.3, 1.0, 0.3])
    assert outcome.gradient_evaluations == 1


def test_of_a_partial_request_only_its_task_is_ascended():
    job = linear_problem("left", ONE_STEP)
    unlearn(job)
    assert weight(job) == pytest.approx([2.2, 1.0, 0.2])


def test_repair_and_self_repair_are_descended_beside_it():
    job = linear_problem("left", {**ONE_STEP, "repair": 2.0, "self_retain": 1.0})
    unlearn(job)
    # -(2, 0, 2) + 2 (4, 6, 1/3) + (1, 0, 1), the last for the right task of row 0
    assert weight(job) == pytest.approx([2 - 0.7, 1 - 1.2, 1 / 30])


def test_an_ascent_without_bound_ends_with_a_sentence():
    settings = {**ONE_STEP, "learning_rate": 1.0, "min_steps": 200}
    with pytest.raises(Diverged, match="became NaN or infinite"):
        unlearn(linear_problem("both", settings))
