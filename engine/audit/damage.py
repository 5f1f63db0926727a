"""What was lost elsewhere: the share of the parent's quality that a new version has kept."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from engine.audit.jackknife import interval, without_a_group
from engine.spec import Interval

GROUPS = 20
"""Of the delete-a-group jackknife."""

Measure = Callable[[Sequence[Tensor]], Sequence[float | None]]
"""From several bool [N] choices of instances to the kept share on each."""


def kept_share(before: float, after: float, higher_is_better: bool, unit: float) -> float:
    """The share of the quality `before` that is left `after`; 1 or more means no damage.

    Higher is better: `after / before` (1 - the loss as a share of `unit` where `before` is not
    positive). Lower is better: `1 - (after - before) / unit` with `unit` the parent's held-out
    error. The unit is not the error before, because a network that knows its training data by heart
    has an error near zero there, and any harmless change would be a multiple of it.
    """
    if higher_is_better and before > 0:
        return after / before
    lost = before - after if higher_is_better else after - before
    return 1 - lost / max(abs(unit), 1e-6)


def kept_interval(clusters: Sequence[str], measure: Measure, confidence: float) -> Interval | None:
    """The kept share on a sample of instances, between the ends of its interval.

    `clusters` names what each of the N instances belongs to. By the jackknife over 20 groups:
    before and after are measured on the same instances, so their luck cancels. None where the share
    is not defined on the sample or on a part of it.
    """
    parts = without_a_group(clusters, GROUPS)
    if not parts:
        return None
    value, *shares = measure([torch.ones(len(clusters), dtype=torch.bool), *parts])
    return interval(value, shares, confidence)
