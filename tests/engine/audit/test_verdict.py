import re
from typing import Any

import pytest

from engine.audit.verdict import (
    Attack,
    Expected,
    Finding,
    Sample,
    combine,
    earlier,
    kept,
    membership,
    relearning,
    worst,
)
from engine.spec import Interval, Thresholds

THRESHOLDS = Thresholds()


def attack(low: float, high: float, share: float = 0.7) -> Attack:
    """An attack whose one-sided bounds are closer than its interval by `share`."""
    value, half = (low + high) / 2, (high - low) / 2
    return Attack(
        "membership",
        Interval(low=low, value=value, high=high),
        Interval(low=value - share * half, value=value, high=value + share * half),
        0.1,
    )


def judged(found: Attack, forgotten: int = 40, reference: int = 200, **more: Any) -> Finding:
    return membership(
        found,
        Sample(forgotten, forgotten),
        Sample(reference, reference),
        more.pop("objection", None),
        THRESHOLDS,
        more.pop("expected", Expected()),
        **more,
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict", "words"),
    [
        (0.40, 0.60, "pass", "reaches 0.45 to 0.55"),
        (0.51, 0.61, "pass", "reaches"),
        (0.55, 0.71, "inconclusive", "points beyond 0.45 to 0.55 without ruling it out"),
        (0.30, 0.46, "inconclusive", "points beyond"),
        (0.25, 0.85, "inconclusive", "does not rule out an AUC beyond 0.30 to 0.70"),
        (0.56, 0.70, "fail", "still remembered"),
        (0.30, 0.44, "fail", "over-forgotten"),
        (0.20, 0.80, "inconclusive", "40 forgotten instances are too few"),
        (0.56, 1.00, "fail", "still remembered"),
    ],
)
def test_membership(low: float, high: float, verdict: str, words: str) -> None:
    finding = judged(attack(low, high))
    assert finding.verdict == verdict
    assert words in finding.reason


def test_a_retrained_reference_moves_the_band_up_to_it() -> None:
    found = attack(0.60, 0.76)
    assert judged(found).verdict == "fail"
    assert judged(found, expected=Expected(high=0.68)).verdict == "pass"
    assert judged(attack(0.42, 0.56), expected=Expected(high=0.68)).verdict == "pass"
    assert judged(attack(0.74, 0.9), expected=Expected(high=0.68)).verdict == "fail"


def test_what_retraining_may_leave_is_no_failure_and_no_pass() -> None:
    finding = judged(attack(0.60, 0.76), excuse="the instances still teach other tasks")
    assert finding.verdict == "inconclusive"
    assert finding.reason.endswith("but the instances still teach other tasks")
    assert judged(attack(0.40, 0.60), excuse="the instances still teach").verdict == "pass"


@pytest.mark.parametrize(("forgotten", "reference"), [(10, 100), (30, 275), (60, 150)])
@pytest.mark.parametrize("value", [0.5, 0.53, 0.62])
def test_as_many_instances_as_an_inconclusive_verdict_asks_for_decide(
    forgotten: int, reference: int, value: float
) -> None:
    def at(n: int, m: int) -> Finding:
        error = ((1 / n + 1 / m) / 12) ** 0.5
        found = Attack(
            "membership",
            Interval(low=value - 2.4 * error, value=value, high=value + 2.4 * error),
            Interval(low=value - 1.65 * error, value=value, high=value + 1.65 * error),
            0.0,
        )
        return judged(found, n, m)

    finding = at(forgotten, reference)
    if finding.verdict != "inconclusive":
        return
    both = re.search(r"about (\d+) against (\d+) would do", finding.reason)
    one = re.search(r"about (\d+) would do", finding.reason)
    assert both or one
    if both:
        assert at(int(both[1]), int(both[2])).verdict != "inconclusive"
    elif one:
        assert at(int(one[1]), reference).verdict != "inconclusive"
        assert int(one[1]) > forgotten


def test_too_few_held_out_instances_judge_nothing() -> None:
    finding = judged(attack(0.9, 1), reference=19)
    assert finding.verdict == "inconclusive"
    assert "only 19 held-out instances to compare with, of 20 needed" in finding.reason


def test_a_wide_interval_over_few_subjects_asks_for_subjects_not_for_instances() -> None:
    finding = membership(
        attack(0.1, 0.9), Sample(287, 2), Sample(390, 3), None, THRESHOLDS, Expected()
    )
    assert finding.verdict == "inconclusive"
    assert "2 forgotten against 3 held-out subjects" in finding.reason
    assert "about 4 on either side would do" in finding.reason


def test_an_unfair_reference_judges_nothing() -> None:
    finding = judged(attack(0.9, 1), objection="no fair reference")
    assert finding.verdict == "inconclusive"
    assert finding.reason.startswith("no fair reference")


@pytest.mark.parametrize(
    ("before", "low", "high", "verdict"),
    [
        (0.52, 0.58, 0.78, "fail"),
        (0.66, 0.58, 0.78, "pass"),
        (0.50, 0.50, 0.70, "pass"),
        (0.50, 0.30, 0.44, "pass"),
    ],
)
def test_relearning_fails_only_what_clearly_comes_back(
    before: float, low: float, high: float, verdict: str
) -> None:
    start = Interval(low=before - 0.1, value=before, high=before + 0.1)
    now = Interval(low=low, value=(low + high) / 2, high=high)
    finding = relearning(start, now, "their pace", THRESHOLDS)
    assert finding.verdict == verdict
    assert "their pace" in finding.reason


@pytest.mark.parametrize(
    ("before", "low", "high", "reference", "objection", "verdict"),
    [
        (0.50, 0.45, 0.60, 100, None, "pass"),
        (0.50, 0.58, 0.70, 100, None, "fail"),
        (0.63, 0.58, 0.70, 100, None, "inconclusive"),
        (0.50, 0.58, 0.70, 10, None, "inconclusive"),
        (0.50, 0.58, 0.70, 100, "no fair reference", "inconclusive"),
    ],
)
def test_earlier_cells_fail_where_they_have_come_back(
    before: float, low: float, high: float, reference: int, objection: str | None, verdict: str
) -> None:
    start = Interval(low=before - 0.1, value=before, high=before + 0.1)
    now = Interval(low=low, value=(low + high) / 2, high=high)
    sample = Sample(reference, reference)
    assert earlier(start, now, objection, sample, THRESHOLDS).verdict == verdict


@pytest.mark.parametrize(
    ("low", "value", "high", "verdict"),
    [
        (0.97, 0.97, 0.97, "pass"),
        (0.94, 0.94, 0.94, "fail"),
        (0.88, 0.93, 0.98, "pass"),
        (0.70, 0.85, 1.00, "inconclusive"),
        (0.80, 0.90, 0.94, "fail"),
    ],
)
def test_kept(low: float, value: float, high: float, verdict: str) -> None:
    assert kept("retain", Interval(low=low, value=value, high=high), THRESHOLDS).verdict == verdict


def test_the_worst_verdict_counts_and_its_reasons_make_the_sentence() -> None:
    combined = combine([Finding("pass", "a"), Finding("fail", "b"), Finding("fail", "c")])
    assert combined == Finding("fail", "B; c.")
    assert worst(["pass", "inconclusive"]) == "inconclusive"
    assert worst([]) == "pass"
