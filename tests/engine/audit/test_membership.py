import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from engine.audit.membership import auc, auc_interval, tpr_at_fpr

LOSSES = st.lists(st.integers(0, 6), min_size=1, max_size=30)


def singles(count: int, side: str) -> list[str]:
    return [f"{side}{position}" for position in range(count)]


@settings(deadline=None)
@given(LOSSES, LOSSES)
def test_auc_is_exact_with_ties(forgotten: list[int], reference: list[int]) -> None:
    losses = torch.tensor(forgotten + reference, dtype=torch.float32)
    member = [1] * len(forgotten) + [0] * len(reference)
    found = auc(losses[: len(forgotten)], losses[len(forgotten) :])
    assert found == pytest.approx(roc_auc_score(member, -losses.numpy()))


@settings(deadline=None)
@given(LOSSES, LOSSES)
def test_the_interval_contains_the_auc_and_stays_within_0_and_1(
    forgotten: list[int], reference: list[int]
) -> None:
    f, r = torch.tensor(forgotten).float(), torch.tensor(reference).float()
    interval = auc_interval(f, r, singles(len(f), "f"), singles(len(r), "r"), 0.95)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.value == pytest.approx(auc(f, r))


def test_on_many_instances_the_interval_is_delongs() -> None:
    random = np.random.default_rng(0)
    f = torch.from_numpy(random.normal(0, 1, 4000))
    r = torch.from_numpy(random.normal(0.5, 1, 4000))
    placed_f = [float((r > x).double().mean()) for x in f]
    placed_r = [float((f < x).double().mean()) for x in r]
    error = (np.var(placed_f, ddof=1) / 4000 + np.var(placed_r, ddof=1) / 4000) ** 0.5
    interval = auc_interval(f, r, singles(4000, "f"), singles(4000, "r"), 0.95)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.01)


def test_instances_that_share_a_subject_widen_the_interval() -> None:
    random = np.random.default_rng(1)

    def losses(subjects: int) -> torch.Tensor:
        return torch.from_numpy(np.repeat(random.normal(size=subjects), 10))

    f, r = losses(8), losses(20)
    f_subjects = [f"f{position // 10}" for position in range(80)]
    r_subjects = [f"r{position // 10}" for position in range(200)]
    honest = auc_interval(f, r, f_subjects, r_subjects, 0.95)
    naive = auc_interval(f, r, singles(80, "f"), singles(200, "r"), 0.95)
    assert honest.high - honest.low > 2 * (naive.high - naive.low)


def test_one_forgotten_instance_decides_nothing() -> None:
    interval = auc_interval(
        torch.tensor([0.0]), torch.arange(1.0, 101.0), ["f"], singles(100, "r"), 0.95
    )
    assert interval.value == 1
    assert interval.low < 0.5


def test_one_reference_subject_decides_nothing() -> None:
    interval = auc_interval(torch.zeros(9), torch.ones(9), singles(9, "f"), ["r"] * 9, 0.95)
    assert (interval.low, interval.high) == (0, 1)


def test_tpr_counts_members_below_every_reference_that_may_not_be_accused() -> None:
    reference = torch.arange(100.0)
    assert tpr_at_fpr(torch.tensor([-1.0, 0.5, 1.5, 50.0]), reference) == 0.5
    assert tpr_at_fpr(torch.tensor([-1.0, 0.5, 1.5, 50.0]), reference[:20]) == 0.25


@pytest.mark.parametrize(
    ("forgotten", "reference", "a_subject"),
    [(2, 20, 1), (5, 30, 1), (12, 60, 1), (60, 60, 1), (60, 275, 1), (40, 100, 5), (10, 100, 10)],
)
def test_at_most_one_draw_in_twenty_without_member_difference_leaves_the_interval(
    forgotten: int, reference: int, a_subject: int
) -> None:
    """Losses of one heavy-tailed distribution, half of whose variance the subjects share."""
    random = np.random.default_rng(forgotten * 1000 + reference)
    draws, outside = 400, 0
    for _ in range(draws):
        sides = []
        for count in (forgotten, reference):
            shared = np.repeat(random.normal(size=count // a_subject), a_subject)
            sides.append(torch.from_numpy(np.exp(shared + random.normal(size=count))))
        f_subjects = [f"f{position // a_subject}" for position in range(forgotten)]
        r_subjects = [f"r{position // a_subject}" for position in range(reference)]
        interval = auc_interval(sides[0], sides[1], f_subjects, r_subjects, 0.95)
        outside += not interval.low <= 0.5 <= interval.high
    # Three standard errors of a rate of .05 over 400 draws are .033.
    assert outside / draws <= 0.05 + 0.033
