import pytest

from engine.methods.finetune import unlearn
from tiny_workload import ONE_STEP, linear_problem, weight


def test_a_step_descends_the_mean_retain_loss_of_all_tasks():
    job = linear_problem("both", ONE_STEP)
    outcome = unlearn(job)
    # left (0+6, 2+6, 0)/2, right (0+2, 4+2, 0)/2: together (4, 7, 0)
    assert weight(job) == pytest.approx([1.6, 0.3, 0.0])
    assert outcome.gradient_evaluations == 2


def test_a_forgotten_instance_goes_on_teaching_its_other_task():
    job = linear_problem("left", ONE_STEP)
    unlearn(job)
    # left (3, 4, 0), right (1+0+2, 0+4+2, 1)/3: together (4, 6, 1/3)
    assert weight(job) == pytest.approx([1.6, 0.4, -1 / 30])
