import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import calibration

LOSSES = st.lists(st.floats(0, 20, width=32), min_size=1, max_size=40)


def test_mid_ranks_place_each_loss_in_the_middle_of_its_share() -> None:
    assert calibration.mid_ranks(torch.tensor([3.0, 1.0])).tolist() == [0.75, 0.25]


@settings(deadline=None)
@given(LOSSES, LOSSES)
def test_targets_lie_within_the_held_out_losses_and_keep_the_order(
    held_out: list[float], losses: list[float]
) -> None:
    forget = torch.tensor(losses)
    found = calibration.targets(torch.tensor(held_out), calibration.mid_ranks(forget))
    assert min(held_out) - 1e-5 <= found.min()
    assert found.max() <= max(held_out) + 1e-5
    assert (found[forget.argsort(stable=True)].diff() >= 0).all()


def test_forgotten_losses_at_their_targets_look_like_held_out_ones() -> None:
    from engine.audit.membership import auc  # noqa: PLC0415

    held_out = torch.linspace(0, 5, 101)
    found = calibration.targets(held_out, calibration.mid_ranks(torch.rand(30)))
    assert auc(found, held_out) == pytest.approx(0.5, abs=0.01)


def test_weights_push_from_both_sides_and_no_harder_than_one() -> None:
    weights = calibration.two_sided_weights(
        torch.tensor([2.0, 2.0, 2.0, 2.0]), torch.tensor([0.0, 1.95, 2.0, 9.0]), scale=1.0
    )
    assert weights.tolist() == pytest.approx([1, 0.5, 0, -1], abs=1e-5)


@settings(deadline=None)
@given(st.floats(0.2, 8), st.floats(-1e6, 1e6), st.floats(0, 10))
def test_a_multiplier_follows_the_shortfall_and_stays_in_range(
    multiplier: float, shortfall: float, scale: float
) -> None:
    following = calibration.next_multiplier(multiplier, shortfall, scale)
    assert following >= calibration.LOWEST_MULTIPLIER - 1e-6
    assert following <= calibration.HIGHEST_MULTIPLIER + 1e-6
    if shortfall > 0:
        assert following >= min(multiplier, calibration.HIGHEST_MULTIPLIER) - 1e-6


def test_targets_of_a_task_without_any_loss_to_speak_of_divide_by_nothing() -> None:
    weights = calibration.two_sided_weights(torch.zeros(2), torch.tensor([0.0, 1.0]), scale=0.0)
    assert weights.tolist() == [0, -1]


def test_a_single_subject_gets_the_losses_of_the_median_unseen_one() -> None:
    unseen = [torch.tensor([90.0, 70.0]), torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0.0, 0.2])]
    (found,) = calibration.subject_targets(unseen, [torch.tensor([0.3, 0.1, 0.2])])
    places = calibration.mid_ranks(torch.tensor([0.3, 0.1, 0.2]))
    assert found.tolist() == calibration.targets(unseen[1], places).tolist()


def test_two_subjects_keep_their_order_and_lie_between_their_neighbours() -> None:
    unseen = [torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([5.0])]
    found = calibration.subject_targets(unseen, [torch.tensor([0.9]), torch.tensor([0.1, 0.1])])
    assert [losses.tolist() for losses in found] == [
        [pytest.approx(4.0)],
        [pytest.approx(2.0)] * 2,
    ]


@settings(deadline=None)
@given(LOSSES, LOSSES)
def test_subjects_of_one_record_each_are_instances(
    held_out: list[float], losses: list[float]
) -> None:
    one_each = [torch.tensor([loss]) for loss in held_out]
    found = calibration.subject_targets(one_each, [torch.tensor([loss]) for loss in losses])
    forget = torch.tensor(losses)
    wanted = calibration.targets(torch.tensor(held_out), calibration.mid_ranks(forget))
    assert torch.cat(found).tolist() == pytest.approx(wanted.tolist(), abs=1e-4)


def test_no_quantile_ends_above_the_bounds_and_no_label_stays_none() -> None:
    nan = float("nan")
    found = calibration.no_higher(
        torch.tensor([5.0, nan, 1.0, 9.0]), torch.tensor([2.0, nan, 6.0, 3.0])
    )
    assert found[[0, 2, 3]].tolist() == [3.0, 1.0, 6.0]
    assert found.isnan().tolist() == [False, True, False, False]
