import pytest

from engine.audit.uis import TaskScores, uis

TARGET = TaskScores(
    target=True, forget_before=1.0, forget_after=0.6, held_out_before=0.8, held_out_after=0.7
)
KEPT = TaskScores(
    target=False, forget_before=1.0, forget_after=0.9, held_out_before=0.8, held_out_after=0.7
)


def test_a_target_task_is_compared_with_the_parents_held_out_score() -> None:
    assert uis([TARGET]) == pytest.approx(100 * (0.1 + 0.2) / 0.8 / 2)


def test_a_kept_task_is_compared_with_itself() -> None:
    assert uis([KEPT]) == pytest.approx(100 * (0.1 / 0.8 + 0.1 / 1.0) / 2)


def test_the_score_is_the_mean_over_tasks() -> None:
    assert uis([TARGET, KEPT]) == pytest.approx((uis([TARGET]) + uis([KEPT])) / 2)


def test_a_metric_of_zero_divides_by_nothing() -> None:
    still = TaskScores(
        target=True, forget_before=0, forget_after=0, held_out_before=0, held_out_after=0
    )
    assert uis([still]) == 0
