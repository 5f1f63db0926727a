import pytest
import torch

from engine.errors import InvalidSpec
from engine.methods.random_targets import RandomTargets
from tiny_workload import linear_problem


def test_a_donor_is_retained_for_the_task_and_is_another_instance():
    donors = RandomTargets(linear_problem("both", {})).donors
    assert set(donors[0].tolist()) <= {1, 2}


def test_a_task_that_nobody_teaches_any_more_has_no_other_target():
    retain = torch.zeros(4, 2, dtype=torch.bool)
    retain[1:3, 1] = True
    with pytest.raises(InvalidSpec, match="no retained instance teaches task 'left'"):
        RandomTargets(linear_problem("left", {}, retain))
