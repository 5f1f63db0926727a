"""Which held-out instances may stand in for 'never seen', and when none may."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import fdtri
from torch import Tensor

_NEGLIGIBLE = 0.1
"""A subject effect whose 95 % upper bound explains less of the losses' variance than this cannot
move a membership AUC out of its margin."""


@dataclass(frozen=True)
class Reference:
    """The held-out instances to compare a request's instances with, for one task."""

    chosen: Tensor
    """bool [M]."""
    description: str
    objection: str | None = None
    """Why the comparison would decide nothing; None where it is fair."""


def choose(
    forgotten: Sequence[str | None],
    staying: frozenset[str],
    held_out: Sequence[str | None],
    minimum: int,
    subject_effect: float | None,
) -> Reference:
    """The reference for instances of the subjects `forgotten` (one an instance, None if unknown).

    `staying` are the subjects who still teach the task. A whole subject is compared with unseen
    subjects; records of a subject who stays are compared with held-out records of subjects who
    stay. Where the held-out data lack the kind that is needed the other kind does only if subjects
    make no difference: `subject_effect`, as of `subject_effect_bound`, is negligible.
    """
    everyone = torch.ones(len(held_out), dtype=torch.bool)
    partial = sum(subject in staying for subject in forgotten if subject is not None)
    if all(subject is None for subject in forgotten) or all(s is None for s in held_out):
        return Reference(everyone, f"{len(held_out)} held-out instances")
    known = torch.tensor([subject in staying for subject in held_out], dtype=torch.bool)
    if partial == 0 and int((~known).sum()) >= minimum:
        return Reference(~known, f"{int((~known).sum())} held-out instances of unseen subjects")
    if partial == len(forgotten) and int(known.sum()) >= minimum:
        return Reference(known, f"{int(known.sum())} held-out instances of subjects who stay")
    if subject_effect is not None and subject_effect <= _NEGLIGIBLE:
        return Reference(
            everyone,
            f"{len(held_out)} held-out instances (other subjects, who make no difference: at most"
            f" {subject_effect:.0%} of the losses' variance)",
        )
    kind = "other subjects" if not bool(known.any()) else "another mixture of subjects"
    effect = "" if subject_effect is None else f" (up to {subject_effect:.0%} of their variance)"
    return Reference(
        everyone,
        f"{len(held_out)} held-out instances",
        f"{partial} of {len(forgotten)} forgotten instances are records of subjects who stay, and"
        f" the held-out data are of {kind}, who differ in their losses{effect}: no fair reference",
    )


def subject_effect(losses: Tensor, subjects: Sequence[str | None]) -> float:
    """The share of the losses' variance that lies between subjects, estimated; 0 if none can be.

    The intraclass correlation, from a one-way analysis of variance of the losses' ranks, which a
    heavy tail cannot rule.
    """
    found = _analysis(losses, subjects)
    return 0.0 if found is None else found.share(found.ratio)


def subject_effect_bound(losses: Tensor, subjects: Sequence[str | None]) -> float | None:
    """The 95 % upper bound of the same share: the exact one (Searle 1971).

    None where no subject has two instances.
    """
    found = _analysis(losses, subjects)
    if found is None:
        return None
    return found.share(found.ratio / float(fdtri(found.groups - 1, found.n - found.groups, 0.05)))


@dataclass(frozen=True)
class _Analysis:
    """One-way, of variance."""

    n: int
    groups: int
    size: float
    """Of a group, as the analysis averages it."""
    ratio: float
    """The mean square between groups over that within them."""

    def share(self, ratio: float) -> float:
        """Of the variance, that lies between groups if the ratio is such."""
        if math.isinf(ratio):
            return 1.0
        return max(0.0, (ratio - 1) / (ratio + self.size - 1))


def _analysis(losses: Tensor, subjects: Sequence[str | None]) -> _Analysis | None:
    """Of the losses' ranks by subject; None where no subject has two instances."""
    values = losses.double().numpy()
    ordered = np.sort(values)
    ranks = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    known = np.array([subject is not None for subject in subjects], dtype=bool)
    _, index, counts = np.unique(
        np.array([subject for subject in subjects if subject is not None], dtype=str),
        return_inverse=True,
        return_counts=True,
    )
    ranks = ranks[known]
    groups, n = len(counts), len(ranks)
    if groups < 2 or n <= groups:
        return None
    means = np.bincount(index, weights=ranks) / counts
    between = float((counts * (means - ranks.mean()) ** 2).sum()) / (groups - 1)
    within = float(((ranks - means[index]) ** 2).sum()) / (n - groups)
    size = (n - float((counts**2).sum()) / n) / (groups - 1)
    if within == 0:
        return _Analysis(n, groups, size, 1.0 if between == 0 else math.inf)
    return _Analysis(n, groups, size, between / within)
