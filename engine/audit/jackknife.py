"""The delete-a-group jackknife: how far a statistic of a sample may be off, whatever it is.

Kott, J. Official Statistics 17:521, 2001. The statistic is measured again without each of G random
groups of clusters; the spread of the results gives its variance. It suits metrics that are no mean
(mIoU, F), which a bootstrap would have to measure hundreds of times.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from scipy.special import stdtrit
from torch import Tensor

from engine.spec import Interval


def without_a_group(clusters: Sequence[str], most: int) -> list[Tensor]:
    """For each of at most `most` groups the choice of what is not in it, bool [N].

    `clusters` names what each of the N instances belongs to: a cluster is never split. The groups
    depend on the names alone. Empty where there are fewer than two clusters.
    """
    names = sorted(set(clusters), key=lambda name: hashlib.sha256(name.encode()).digest())
    groups = min(most, len(names))
    if groups < 2:
        return []
    group_of = {name: position % groups for position, name in enumerate(names)}
    group = torch.tensor([group_of[name] for name in clusters])
    return [group != left_out for left_out in range(groups)]


def interval(
    value: float | None, parts: Sequence[float | None], confidence: float
) -> Interval | None:
    """The statistic between the ends of its interval, from it without each of the G groups.

    Student's t with G - 1 degrees of freedom. None where it is not defined on some part.
    """
    known = [part for part in parts if part is not None]
    groups = len(parts)
    if value is None or groups < 2 or len(known) < groups:
        return None
    mean = sum(known) / groups
    error = math.sqrt((groups - 1) / groups * sum((part - mean) ** 2 for part in known))
    half = float(stdtrit(groups - 1, (1 + confidence) / 2)) * error
    return Interval(low=value - half, value=value, high=value + half)
