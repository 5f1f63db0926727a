"""Can a member be told from a stranger by its loss? The threshold attack, with honest intervals.

A training instance's loss tends to be lower than that of an instance the model never saw. The AUC
of that attack is the probability that a forgotten instance has a lower loss than a held-out one,
ties counting half: 1 if membership is certain, .5 if nothing can be told. Below .5 the forgotten
instances are conspicuously *bad*, which gives them away just as well.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from engine.spec import Interval

Array = NDArray[np.float64]


def auc(forgotten: Tensor, reference: Tensor) -> float:
    """P(forgotten loss < reference loss) + P(equal) / 2, exact; losses [n] and [m]."""
    return float(_placements(_array(forgotten), _array(reference)).mean())


@dataclass(frozen=True)
class AucEstimate:
    """An AUC with what its intervals are made of."""

    value: float
    variance: float
    freedom: float
    """Degrees of; 0 where there are too few clusters to say anything."""

    def interval(self, confidence: float) -> Interval:
        """The AUC between the ends of its two-sided interval at `confidence`."""
        if not self.freedom:
            return Interval(low=0.0, value=self.value, high=1.0)
        quantile = float(stdtrit(self.freedom, (1 + confidence) / 2)) if self.variance else 0.0
        half = quantile * math.sqrt(self.variance)
        return Interval(
            low=max(0.0, self.value - half), value=self.value, high=min(1.0, self.value + half)
        )


def auc_interval(
    forgotten: Tensor,
    reference: Tensor,
    forgotten_clusters: Sequence[str],
    reference_clusters: Sequence[str],
    confidence: float,
) -> Interval:
    """The interval of `auc_estimate` at `confidence`."""
    found = auc_estimate(forgotten, reference, forgotten_clusters, reference_clusters)
    return found.interval(confidence)


def auc_estimate(
    forgotten: Tensor,
    reference: Tensor,
    forgotten_clusters: Sequence[str],
    reference_clusters: Sequence[str],
) -> AucEstimate:
    """The AUC and its variance, from losses [n] and [m].

    The variance is DeLong's (Biometrics 44:837, 1988), summed over clusters as by Obuchowski
    (Biometrics 53:567, 1997): instances of one subject share their luck, so a subject counts once.
    Two changes keep it honest on few clusters, where DeLong's intervals are too short: the spread
    among the forgotten clusters is averaged with one more observation of the spread among the
    reference's own, each against the others (with a single forgotten cluster that alone is left),
    and the quantile is Student's, with Satterthwaite's degrees of freedom.
    """
    lost, held = _array(forgotten), _array(reference)
    of_forgotten = _placements(lost, held)
    of_reference = 1 - _placements(held, lost)
    value = float(of_forgotten.mean())
    k, s = _spread(of_forgotten - value, forgotten_clusters)
    m, r = _spread(of_reference - value, reference_clusters)
    if m < 2:
        return AucEstimate(value, 0.0, 0.0)
    stranger = _stranger_spread(held, reference_clusters, len(lost) / k)
    forgotten_part = ((k - 1) * s + stranger) / k**2
    forgotten_freedom = k**2 / ((k - 1) + 1 / (m - 1))
    reference_part = r / m
    variance = forgotten_part + reference_part
    if variance == 0:
        return AucEstimate(value, 0.0, math.inf)
    freedom = variance**2 / (forgotten_part**2 / forgotten_freedom + reference_part**2 / (m - 1))
    return AucEstimate(value, variance, freedom)


def tpr_at_fpr(forgotten: Tensor, reference: Tensor, fpr: float = 0.01) -> float:
    """The share of forgotten instances caught when at most `fpr` of the reference is accused.

    With fewer than 1 / `fpr` reference instances none of them may be accused.
    """
    held = _array(reference)
    allowed = math.floor(fpr * len(held) + 1e-9)
    threshold = np.sort(held)[allowed]
    return float((_array(forgotten) < threshold).mean())


def _array(losses: Tensor) -> Array:
    return losses.detach().to(dtype=torch.float64, device="cpu").numpy()


def _placements(values: Array, others: Array) -> Array:
    """For each value the share of `others` above it, ties counting half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    placed: Array = 1 - (below + up_to) / (2 * len(others))
    return placed


def _spread(deviations: Array, clusters: Sequence[str]) -> tuple[int, float]:
    """The number of clusters, and the variance of their scaled sums of deviations (0 for one)."""
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, weights=deviations)
    k = len(sums)
    if k < 2:
        return k, 0.0
    scaled = sums * (k / len(deviations))
    return k, float((scaled**2).sum() / (k - 1))


def _stranger_spread(held: Array, clusters: Sequence[str], size: float) -> float:
    """The variance of a stranger cluster's AUC, for clusters of `size` instances on average.

    `a + b / size`: a is what the instances of a cluster share, b is what each has alone. Fitted to
    the reference at size 1 and at its own clusters' size, each against what is left without it.
    """
    shared, alone = _stranger_parts(held.tobytes(), tuple(clusters))
    return shared + alone / size


@functools.lru_cache(maxsize=64)  # the same strangers face each request of a job
def _stranger_parts(losses: bytes, clusters: tuple[str, ...]) -> tuple[float, float]:
    """What instances of a cluster share, and what each has alone; of float64 losses."""
    held: Array = np.frombuffer(losses)
    m = len(held)
    # Against itself every value ties once; without itself the spread is this much wider.
    single = float(_placements(held, held).var(ddof=1)) * (m / (m - 1)) ** 2
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) == m:
        return single, 0.0
    own = [float(_placements(held[index == c], held[index != c]).mean()) for c in range(len(names))]
    usual = float(np.var(own, ddof=1))
    alone = min(single, max(0.0, (single - usual) / (1 - len(names) / m)))
    return single - alone, alone
