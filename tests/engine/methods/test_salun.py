import pytest
import torch

from engine.methods.salun import salient_weights, unlearn
from tiny_workload import ONE_STEP, linear_problem, weight


def test_a_step_moves_only_the_weights_that_the_forget_loss_is_steep_in():
    job = linear_problem("left", ONE_STEP)
    outcome = unlearn(job)
    # Random label's step with the mask (1, 0, 1) of the forget gradient (2, 0, 2).
    assert weight(job) == pytest.approx([1.2, 1.0, -13 / 30])
    assert outcome.gradient_evaluations == 5


def test_the_salient_share_is_that_of_the_steepest():
    gradient = torch.tensor([0.1, -3.0, 2.0, 0.0])
    assert salient_weights(gradient, 0.5).tolist() == [0, 1, 1, 0]
    assert salient_weights(gradient, 1.0).tolist() == [1, 1, 1, 1]
