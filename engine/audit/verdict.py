"""From measurements to a verdict: the rules, as pure functions of numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


def membership(
    interval: Interval,
    tpr: float,
    forgotten: Sample,
    reference: Sample,
    objection: str | None,
    thresholds: Thresholds,
) -> Finding:
    """Whether the `forgotten` instances can be told from the `reference` held-out ones by loss.

    `objection` says why the reference is unfair, if it is. Fails only where the whole interval lies
    beyond the margin on one side: above, the instances are remembered; below, they are forgotten so
    thoroughly that it gives them away. In a partial-task request the reference is the *unseen* one
    all the same, although retraining would not quite reach it (the instances still teach the
    network through other tasks): the stricter of the two honest choices.
    """
    low, high = 0.5 - thresholds.auc_margin, 0.5 + thresholds.auc_margin
    seen = f"membership AUC {interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    half_width = (interval.high - interval.low) / 2
    if objection is not None:
        return Finding("inconclusive", f"{objection}; {seen}")
    if reference.instances < thresholds.min_reference:
        return Finding(
            "inconclusive",
            f"only {reference.instances} held-out instances to compare with, of"
            f" {thresholds.min_reference} needed; {seen}",
        )
    caught = f"{tpr:.0%} of the forgotten caught at 1 % false alarms"
    if interval.low > high:
        return Finding("fail", f"{seen} lies above {high:.2f}: still remembered; {caught}")
    if interval.high < low:
        return Finding("fail", f"{seen} lies below {low:.2f}: over-forgotten, a tell in itself")
    if half_width > thresholds.max_auc_half_width:
        wide = f"{seen} is wider than +-{thresholds.max_auc_half_width:.2f}"
        ratio = (half_width / thresholds.max_auc_half_width) ** 2
        return Finding("inconclusive", f"{wide}: {_too_few(forgotten, reference, ratio)}")
    return Finding("pass", f"{seen} reaches {low:.2f} to {high:.2f}; {caught}")


def _too_few(forgotten: Sample, reference: Sample, ratio: float) -> str:
    """What is missing where the variance should be `ratio` times smaller."""
    smaller = min(forgotten.clusters, reference.clusters)
    if smaller in (forgotten.instances, reference.instances):
        needed = math.ceil(forgotten.instances * ratio)
        return (
            f"{forgotten.instances} forgotten instances are too few to decide, about {needed} would"
            " do"
        )
    return (
        f"instances of one subject count once, and {forgotten.clusters} forgotten against"
        f" {reference.clusters} held-out subjects are too few to decide, about"
        f" {math.ceil(smaller * ratio)} on either side would do"
    )


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
