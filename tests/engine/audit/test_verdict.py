import pytest

from engine.audit.verdict import Finding, Sample, combine, kept, membership, worst
from engine.spec import Interval, Thresholds

THRESHOLDS = Thresholds()


@pytest.mark.parametrize(
    ("low", "high", "verdict", "words"),
    [
        (0.40, 0.60, "pass", "reaches 0.45 to 0.55"),
        (0.54, 0.70, "pass", "reaches"),
        (0.56, 0.70, "fail", "still remembered"),
        (0.30, 0.44, "fail", "over-forgotten"),
        (0.25, 0.75, "inconclusive", "40 forgotten instances are too few"),
        (0.56, 1.00, "fail", "still remembered"),
    ],
)
def test_membership(low: float, high: float, verdict: str, words: str) -> None:
    interval = Interval(low=low, value=(low + high) / 2, high=high)
    finding = membership(interval, 0.1, Sample(40, 40), Sample(200, 200), None, THRESHOLDS)
    assert finding.verdict == verdict
    assert words in finding.reason


def test_too_few_held_out_instances_judge_nothing() -> None:
    finding = membership(
        Interval(low=0.9, value=0.95, high=1), 1.0, Sample(40, 40), Sample(19, 19), None, THRESHOLDS
    )
    assert finding.verdict == "inconclusive"
    assert "only 19 held-out instances to compare with, of 20 needed" in finding.reason


def test_a_wide_interval_over_few_subjects_asks_for_subjects_not_for_instances() -> None:
    interval = Interval(low=0.1, value=0.5, high=0.9)
    finding = membership(interval, 0.1, Sample(287, 2), Sample(390, 3), None, THRESHOLDS)
    assert finding.verdict == "inconclusive"
    assert "2 forgotten against 3 held-out subjects" in finding.reason
    assert "about 8 on either side would do" in finding.reason


def test_an_unfair_reference_judges_nothing() -> None:
    interval = Interval(low=0.9, value=0.95, high=1)
    finding = membership(
        interval, 1.0, Sample(40, 40), Sample(200, 200), "no fair reference", THRESHOLDS
    )
    assert finding.verdict == "inconclusive"
    assert finding.reason.startswith("no fair reference")


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
