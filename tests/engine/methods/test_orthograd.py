import pytest

from engine.methods.orthograd import unlearn
from tiny_workload import ONE_STEP, linear_problem, weight


def test_with_one_row_the_forget_gradient_loses_its_part_along_the_retain_gradient():
    job = linear_problem("both", {**ONE_STEP, "alpha": 0.75, "rows": 1})
    unlearn(job)
    away = [3 - 4 * 12 / 65, -7 * 12 / 65, 3.0]
    step = [0.75 * r - 0.25 * a for r, a in zip([4, 7, 0], away, strict=True)]
    assert weight(job) == pytest.approx([2 - step[0] / 10, 1 - step[1] / 10, -step[2] / 10])


def test_with_a_row_an_instance_it_is_orthogonal_to_each():
    job = linear_problem("both", {**ONE_STEP, "alpha": 0.0, "rows": 2})
    unlearn(job)
    # The rows (0, 6, 0) and (8, 8, 0) leave of (3, 0, 3) the third number alone.
    assert weight(job) == pytest.approx([2.0, 1.0, 0.3])
