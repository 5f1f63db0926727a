"""What the membership rule makes of versions whose AUC is known; docs/explanation/audit.md's table.

Losses are drawn from two normal distributions so far apart that their AUC is the one wanted, one
instance a subject; the rule judges one of three cells at the default thresholds.
"""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from engine.audit.membership import auc_interval
from engine.audit.verdict import Attack, Expected, Sample, membership
from engine.spec import Thresholds

DRAWS = 400
CELLS = 3


def shares(forgotten: int, reference: int, auc: float) -> dict[str, float]:
    """The share of each verdict over the draws."""
    random = np.random.default_rng(forgotten * 1000 + reference)
    thresholds = Thresholds()
    sides = [f"f{row}" for row in range(forgotten)], [f"r{row}" for row in range(reference)]
    family = 1 - (1 - thresholds.confidence) / CELLS
    seen: Counter[str] = Counter()
    for _ in range(DRAWS):
        own = torch.from_numpy(random.normal(-np.sqrt(2) * ndtri(auc), 1, forgotten))
        held = torch.from_numpy(random.normal(0, 1, reference))
        interval, bounds = (
            auc_interval(own, held, *sides, confidence)
            for confidence in (family, 2 * thresholds.confidence - 1)
        )
        finding = membership(
            Attack("membership", interval, bounds, 0.0),
            Sample(forgotten, forgotten),
            Sample(reference, reference),
            None,
            thresholds,
            Expected(),
        )
        seen[finding.verdict] += 1
    return {verdict: seen[verdict] / DRAWS for verdict in ("pass", "inconclusive", "fail")}


@pytest.mark.parametrize(
    ("forgotten", "reference", "passing", "failing"),
    [
        (70, 150, {0.5: 0.97, 0.6: 0.41, 0.65: 0.08}, {0.6: 0.12, 0.65: 0.54}),
        (20, 100, {0.5: 0.72, 0.6: 0.38, 0.65: 0.16}, {0.6: 0.06, 0.65: 0.21}),
        (200, 300, {0.5: 1.00, 0.6: 0.17, 0.65: 0.00}, {0.6: 0.34, 0.65: 0.94}),
    ],
)
def test_the_shares_are_those_of_the_documentation(
    forgotten: int, reference: int, passing: dict[float, float], failing: dict[float, float]
) -> None:
    for auc, expected in passing.items():
        found = shares(forgotten, reference, auc)
        # Three standard errors of a share over the draws are at most .075.
        assert found["pass"] == pytest.approx(expected, abs=0.08), auc
        assert found["fail"] == pytest.approx(failing.get(auc, 0.0), abs=0.08), auc


@pytest.mark.parametrize(("forgotten", "reference"), [(20, 100), (70, 150), (300, 300)])
def test_a_version_at_the_tolerance_rarely_passes_and_a_stranger_hardly_ever_fails(
    forgotten: int, reference: int
) -> None:
    assert shares(forgotten, reference, 0.7)["pass"] <= 0.05 + 0.033
    assert shares(forgotten, reference, 0.5)["fail"] <= 0.01
