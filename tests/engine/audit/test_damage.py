from collections.abc import Sequence

import numpy as np
import pytest
from torch import Tensor

from engine.audit.damage import kept_interval, kept_share


@pytest.mark.parametrize(
    ("before", "after", "higher", "unit", "kept"),
    [
        (0.8, 0.6, True, 0.8, 0.75),
        (0.8, 0.9, True, 0.8, 1.125),
        (2.0, 2.5, False, 2.0, 0.75),
        (2.0, 1.5, False, 2.0, 1.25),
        # An error that was nothing on training data is weighed against the error on held-out data.
        (0.01, 0.11, False, 2.0, 0.95),
        (-0.1, -0.2, True, 0.5, 0.8),
    ],
)
def test_kept_share(before: float, after: float, higher: bool, unit: float, kept: float) -> None:
    assert kept_share(before, after, higher, unit) == pytest.approx(kept)


def test_the_interval_covers_the_true_share_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        right_before = random.random(250) < 0.7
        right_after = np.where(random.random(250) < 0.2, random.random(250) < 0.7, right_before)

        def measure(
            choices: Sequence[Tensor],
            before: np.ndarray = right_before,
            after: np.ndarray = right_after,
        ) -> list[float | None]:
            return [float(after[c.numpy()].mean() / before[c.numpy()].mean()) for c in choices]

        interval = kept_interval([str(row) for row in range(250)], measure, 0.95)
        assert interval is not None
        covered += interval.low <= 1 <= interval.high
    assert 0.9 <= covered / 300 <= 0.99


def test_a_share_that_is_not_defined_on_a_part_has_no_interval() -> None:
    def measure(choices: Sequence[Tensor]) -> list[float | None]:
        return [1.0 if bool(choice[0]) else None for choice in choices]

    assert kept_interval(["a", "b", "c"], measure, 0.95) is None


def test_one_cluster_has_no_interval() -> None:
    assert kept_interval(["a", "a"], lambda choices: [1.0] * len(choices), 0.95) is None
