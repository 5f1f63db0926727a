"""From measurements to a verdict: the rules, as pure functions of numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtri

from engine.spec import Interval, Thresholds, Verdict


@dataclass(frozen=True)
class Finding:
    """One rule's verdict with its reason, a clause that has the numbers."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Sample:
    """How much a set of instances can tell."""

    instances: int
    clusters: int
    """Independent ones among them: an instance without a subject is a cluster of its own."""


@dataclass(frozen=True)
class Attack:
    """How well an attack tells a cell's forgotten from the held-out instances."""

    name: str
    interval: Interval
    """Of its AUC, at the cell's share of the confidence."""
    bounds: Interval
    """The AUC between one-sided bounds, each at the thresholds' confidence."""
    tpr: float
    """The share of the forgotten caught at 1 % false alarms."""


@dataclass(frozen=True)
class Expected:
    """The AUCs of a version that has forgotten: from `low` to `high`."""

    low: float = 0.5
    high: float = 0.5


def membership(
    attack: Attack,
    forgotten: Sample,
    reference: Sample,
    objection: str | None,
    thresholds: Thresholds,
    expected: Expected,
    excuse: str | None = None,
) -> Finding:
    """Whether the `forgotten` instances can be told from the `reference` held-out ones.

    `objection` says why the reference is unfair, if it is; `excuse` why an AUC above the band may
    be what retraining would leave, if it may. Two bars, either side of what is `expected`:

    - fails where the whole interval lies beyond the margin: above, the instances are remembered;
      below, they are forgotten so thoroughly that it gives them away;
    - passes where the estimate lies within the margin, give or take its standard error, and both
      one-sided bounds lie within the tolerance. An audit passes only if all its cells do, so a
      version with one cell beyond the tolerance passes with a probability of at most
      1 - confidence, however many cells there are (an intersection-union test: Berger,
      Technometrics 24:295, 1982; of equivalence: Schuirmann 1987).

    In between the samples are too small to decide.
    """
    interval, bounds = attack.interval, attack.bounds
    low, high = expected.low - thresholds.auc_margin, expected.high + thresholds.auc_margin
    seen = f"{attack.name} AUC {interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    if objection is not None:
        return Finding("inconclusive", f"{objection}; {seen}")
    if reference.instances < thresholds.min_reference:
        return Finding(
            "inconclusive",
            f"only {reference.instances} held-out instances to compare with, of"
            f" {thresholds.min_reference} needed; {seen}",
        )
    caught = f"{attack.tpr:.0%} of the forgotten caught at 1 % false alarms"
    if interval.low > high and excuse is not None:
        return Finding("inconclusive", f"{seen} lies above {high:.2f}, but {excuse}")
    if interval.low > high:
        return Finding("fail", f"{seen} lies above {high:.2f}: still remembered; {caught}")
    if interval.high < low:
        return Finding("fail", f"{seen} lies below {low:.2f}: over-forgotten, a tell in itself")
    least, most = expected.low - thresholds.auc_tolerance, expected.high + thresholds.auc_tolerance
    open_ = None
    if _off(attack, expected) > thresholds.auc_margin + _error(attack, thresholds):
        open_ = f"{seen} points beyond {low:.2f} to {high:.2f} without ruling it out"
    elif bounds.low < least or bounds.high > most:
        open_ = f"{seen} does not rule out an AUC beyond {least:.2f} to {most:.2f}"
    if open_ is not None:
        missing = _too_few(forgotten, reference, _ratio(attack, thresholds, expected))
        return Finding("inconclusive", f"{open_}: {missing}")
    return Finding("pass", f"{seen} reaches {low:.2f} to {high:.2f}; {caught}")


def _off(attack: Attack, expected: Expected) -> float:
    """How far the estimate is from what is expected."""
    value = attack.interval.value
    return max(0.0, value - expected.high, expected.low - value)


def _half(interval: Interval) -> float:
    """Half the width; of one cut off at 0 or 1 that of its whole side."""
    return max(interval.high - interval.value, interval.value - interval.low)


def _error(attack: Attack, thresholds: Thresholds) -> float:
    """The estimate's standard error, as of a normal distribution with the same bounds."""
    return _half(attack.bounds) / float(ndtri(thresholds.confidence))


def _ratio(attack: Attack, thresholds: Thresholds, expected: Expected) -> float:
    """How many times smaller the variance has to be for this estimate to decide."""
    off = _off(attack, expected)
    excess, room = off - thresholds.auc_margin, thresholds.auc_tolerance - off
    if room > 0:
        enough = (_half(attack.bounds) / room) ** 2
        if excess <= _error(attack, thresholds) / math.sqrt(max(1.0, enough)):
            return max(1.0, enough)
    return max(1.0, (_half(attack.interval) / excess) ** 2) if excess > 0 else 1.0


def _too_few(forgotten: Sample, reference: Sample, ratio: float) -> str:
    """What is missing where the variance, about (1/n + 1/m) / 12, should be smaller by `ratio`."""
    n, m = forgotten.clusters, reference.clusters
    if n < forgotten.instances or m < reference.instances:
        return (
            f"instances of one subject count once, and {n} forgotten against {m} held-out subjects"
            f" are too few to decide, about {math.ceil(min(n, m) * ratio)} on either side would do"
        )
    rest = (1 / n + 1 / m) / ratio - 1 / m
    if rest * 10 * n >= 1:
        return (
            f"{n} forgotten instances are too few to decide, about {math.ceil(1 / rest)} would do"
        )
    return (
        f"{n} forgotten against {m} held-out instances are too few to decide, about"
        f" {math.ceil(n * ratio)} against {math.ceil(m * ratio)} would do"
    )


def relearning(before: Interval, after: Interval, pace: str, thresholds: Thresholds) -> Finding:
    """Whether a few training steps bring the forgotten instances back sooner than held-out ones.

    Both AUCs are of the probed instances, `before` and `after` the steps; `pace` has the losses.
    Steps on both alike leave strangers alike, so memory that only lay hidden shows as an AUC that
    rises. Fails where it rose by more than the margin and its whole interval is beyond the margin:
    the probed are few, and a milder rise is told but decides nothing.
    """
    margin = thresholds.auc_margin
    if after.low > 0.5 + margin and after.value - before.value > margin:
        return Finding(
            "fail",
            f"a few training steps bring the forgotten back: their membership AUC rises from"
            f" {before.value:.3f} to {after.value:.3f} [{after.low:.3f}, {after.high:.3f}]; {pace}",
        )
    return Finding("pass", pace)


def earlier(
    before: Interval,
    now: Interval,
    objection: str | None,
    reference: Sample,
    thresholds: Thresholds,
) -> Finding:
    """Whether cells that requests before had forgotten have come back.

    Fails where the whole interval lies above the band and the AUC has grown by more than the margin
    since the parent. Where it lay above it then already (instances that still teach other tasks may
    stay there), this version is not to blame: `inconclusive`, which does not count.
    """
    high = 0.5 + thresholds.auc_margin
    seen = f"membership AUC {before.value:.3f} -> {now.value:.3f} [{now.low:.3f}, {now.high:.3f}]"
    if objection is not None:
        return Finding("inconclusive", f"{objection}; {seen}")
    if reference.instances < thresholds.min_reference:
        return Finding("inconclusive", f"too few held-out instances to compare with; {seen}")
    if now.low <= high:
        return Finding("pass", f"{seen} reaches {high:.2f}")
    if now.value - before.value > thresholds.auc_margin:
        return Finding("fail", f"{seen} lies above {high:.2f}: they have come back")
    return Finding("inconclusive", f"{seen} lies above {high:.2f}, as it did in the parent")


def kept(where: str, interval: Interval, thresholds: Thresholds) -> Finding:
    """Whether enough quality is left on `where`; an exact share has an interval of no width.

    Fails where the whole interval is below the bar. A sample passes where its interval reaches the
    bar and the estimate lost at most twice what may be lost: a few hundred held-out instances
    cannot measure a share to the per cent, and of perfect versions too half would lie below it.
    """
    bar = thresholds.retain_kept
    share = f"keeps {interval.value:.1%} of its {where} quality"
    if interval.high < bar:
        return Finding("fail", f"{share}, below the {bar:.0%} to be kept")
    if interval.value >= bar:
        return Finding("pass", share)
    within = f"{share} ({interval.low:.1%} to {interval.high:.1%})"
    if interval.value >= 2 * bar - 1:
        return Finding("pass", within)
    return Finding("inconclusive", f"{within}, too wide an interval to tell from {bar:.0%}")


def unchanged() -> Finding:
    """A version with the parent's very weights has forgotten nothing, whatever the samples say."""
    return Finding("fail", "the weights are the parent's, byte for byte")


def withdrawn() -> Finding:
    """A task that nothing teaches any more has no quality to keep: being useless is its due."""
    return Finding(
        "pass", "nothing teaches the task any more, so none of its quality is to be kept"
    )


def combine(findings: Sequence[Finding]) -> Finding:
    """The worst verdict, with the reasons for it; of a pass, with all reasons."""
    verdict = worst([finding.verdict for finding in findings])
    reasons = [finding.reason for finding in findings if finding.verdict == verdict]
    return Finding(verdict, _sentence("; ".join(reasons)))


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """`fail` if any failed, else `inconclusive` if any is, else `pass`."""
    if "fail" in verdicts:
        return "fail"
    return "inconclusive" if "inconclusive" in verdicts else "pass"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
