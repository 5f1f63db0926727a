import pytest
import torch

from engine.methods.ssd import dampening, unlearn
from tiny_workload import linear_problem, weight


def test_weights_that_matter_to_the_forget_set_are_dampened():
    job = linear_problem("both", {"alpha": 0.5, "dampening": 0.5})
    outcome = unlearn(job)
    # F_f = (3, 0, 3)^2; F_D of rows 0, 1, 2 = (11/3, 14/3, 1)^2: the first and third are chosen.
    assert weight(job) == pytest.approx([2 * 0.5 * (121 / 9) / 9, 1.0, 0.0])
    assert outcome.gradient_evaluations == 4
    assert outcome.settings["dampened_share"] == pytest.approx(2 / 3)
    assert outcome.settings["alpha"] == 0.5


def test_no_weight_grows_and_one_that_matters_to_nobody_stays():
    forget = torch.tensor([20.0, 20.0, 1.0, 0.0])
    everything = torch.tensor([1.0, 19.0, 1.0, 0.0])
    assert dampening(forget, everything, 0.9, 2.0).tolist() == pytest.approx([0.1, 1, 1, 1])
