import pytest

from engine.methods.scrub import unlearn
from tiny_workload import ONE_STEP, linear_problem, weight


def test_the_first_step_descends_the_retain_loss_for_the_student_is_still_the_parent():
    job = linear_problem("both", {**ONE_STEP, "gamma": 1.0})
    unlearn(job)
    assert weight(job) == pytest.approx([1.6, 0.3, 0.0])


def test_the_second_step_leaves_the_parent_on_forget_cells():
    job = linear_problem("both", {**ONE_STEP, "min_steps": 2, "max_share": 1.0})
    unlearn(job)
    # Row 0 is at 1.6 and the parent at 2: each task's gradient is 2 (-.4) (1, 0, 1). Half way down
    # the cosine the rate is .525 of .1.
    assert weight(job) == pytest.approx([1.6 - 0.084, 0.3, -0.084])


def test_after_its_share_of_the_job_it_keeps_to_the_parent_on_retain_data():
    job = linear_problem("both", {**ONE_STEP, "min_steps": 2, "max_share": 0.5, "alpha": 0.5})
    unlearn(job)
    # At (1.6, .3, 0) rows 1, 2 are at .3, 1.9. Loss: left (1.9, 2.2, 0), right (-.1, 1.2, 0);
    # distance from 1 and 3, each task: (-1.1, -1.8, 0).
    assert weight(job) == pytest.approx([1.6 - 0.0525 * 0.7, 0.3 - 0.0525 * 1.6, 0.0])
