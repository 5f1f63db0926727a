"""The goals set beforehand, each with what the rows say of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.unlearning.checks import Controls, FalseFailures, StepCost
from benchmarks.unlearning.rows import Scope
from benchmarks.unlearning.summary import Field

Met = Literal["yes", "no", "no rival", "not measured"]
AnyCheck = Controls | FalseFailures | StepCost

_LONG_RETRAINING = 120.0
"""Seconds."""


@dataclass(frozen=True)
class Bar:
    """One goal."""

    name: str
    target: str
    measured: str
    met: Met


def bars(found: Sequence[Field], checks: Sequence[AnyCheck]) -> list[Bar]:
    """All goals, in order; a goal that no row speaks of is `not measured`."""
    single = [field for field in found if not field.question.forget_set.startswith("sequence")]
    rows = [field for field in found if field.question.forget_set.startswith("sequence")]
    return [
        *_against_baselines("1. full-task UIS", single, "full", 0.5),
        *_against_baselines("2. partial-task UIS", single, "partial", 0.4),
        _retain("3. retain metrics", single),
        *_cost(single),
        *_step(checks),
        *_in_a_row(rows),
        *_audit(checks),
    ]


def _against_baselines(name: str, found: Sequence[Field], scope: Scope, bar: float) -> list[Bar]:
    ratios, distances, unrivalled = [], [], []
    for field in found:
        ours = field.ours
        if field.question.scope != scope or ours is None or ours.uis is None:
            continue
        rival = field.strongest
        if rival is not None and rival.uis is not None:
            ratios.append(
                (
                    ours.uis.mean / max(rival.uis.mean, 1e-9),
                    f"{field.question.title}, against {rival.method}",
                )
            )
        elif field.has_baselines:
            unrivalled.append(field.question.title)
        retrain = field.retrain
        if retrain is not None and retrain.uis is not None and retrain.uis.sd is not None:
            excess = (ours.uis.mean - retrain.uis.mean) / max(retrain.uis.sd, 1e-9)
            distances.append((excess, field.question.title))
    return [
        _unless_unrivalled(
            _worst(name, f"at most {bar} x the strongest baseline's", ratios, bar, "{:.2f} x"),
            unrivalled,
        ),
        _worst(
            f"{name}, from retraining's",
            "at most one standard deviation above",
            distances,
            1.0,
            "{:+.1f} standard deviations",
        ),
    ]


def _unless_unrivalled(bar: Bar, unrivalled: Sequence[str]) -> Bar:
    """The bar, with the questions on which no baseline that was measured is a candidate."""
    if not unrivalled:
        return bar
    note = f"no baseline keeps 95 % and looks unseen: {'; '.join(unrivalled)}"
    if bar.met == "not measured":
        return Bar(bar.name, bar.target, note, "no rival")
    return Bar(bar.name, bar.target, f"{bar.measured}; {note}", bar.met)


def _retain(name: str, found: Sequence[Field]) -> Bar:
    missing = []
    for field in found:
        ours = field.ours
        if ours is None:
            continue
        retrained = field.retrain.kept_by_task() if field.retrain else {}
        for task, share in ours.kept_by_task().items():
            short = min(0.99, retrained.get(task, 0.99)) - share
            missing.append((short, f"{share:.1%} on {task}: {field.question.title}"))
    target = "at least 99 % of the original's, or retraining's, on every task"
    return _worst(name, target, missing, 0.0)


def _cost(found: Sequence[Field]) -> list[Bar]:
    bars_ = []
    for text, bar, within in (
        ("up to 3 %", 0.1, (0.0, 0.03)),
        ("10 %", 0.25, (0.08, 0.12)),
    ):
        gradients, times = [], []
        for field in found:
            ours, retrain = field.ours, field.retrain
            if ours is None or retrain is None or not within[0] <= field.ratio <= within[1]:
                continue
            cost = ours.over(lambda row: None if row.gradients is None else float(row.gradients))
            whole = retrain.over(
                lambda row: None if row.gradients is None else float(row.gradients)
            )
            if cost and whole:
                gradients.append((cost.mean / max(whole.mean, 1e-9), field.question.title))
            share = ours.over(lambda row: row.share_of_retraining)
            whole_time = retrain.over(lambda row: row.seconds)
            if share and whole_time and whole_time.mean >= _LONG_RETRAINING:
                times.append((share.mean, field.question.title))
        name = f"4. cost at {text} forgotten"
        target = f"at most {bar} of retraining's"
        bars_.append(_worst(f"{name}, gradients", target, gradients, bar, "{:.2f}"))
        bars_.append(
            _worst(
                f"{name}, time, where retraining takes over two minutes",
                target,
                times,
                bar,
                "{:.2f}",
            )
        )
    return bars_


def _step(checks: Sequence[AnyCheck]) -> list[Bar]:
    times, peaks = [], []
    for check in checks:
        if isinstance(check, StepCost):
            where = f"{check.workload}, {check.scope}"
            times.append((check.seconds / max(check.plain_seconds, 1e-9), where))
            if check.peak_bytes and check.plain_peak_bytes:
                peaks.append((check.peak_bytes / check.plain_peak_bytes, where))
    return [
        _worst("5. one step, time", "at most 3 x a plain training step's", times, 3.0, "{:.2f} x"),
        _worst("5. one step, peak memory", "at most 1.5 x", peaks, 1.5, "{:.2f} x"),
    ]


def _in_a_row(found: Sequence[Field]) -> list[Bar]:
    verdicts = [
        (
            0.0 if row.first_verdict == "pass" else 1.0,
            f"{row.first_verdict}: {field.question.title}",
        )
        for field in found
        if field.ours is not None
        for row in field.ours.rows
    ]
    return [
        *_against_baselines("6. requests in a row, full-task UIS", found, "full", 0.5),
        *_against_baselines("6. requests in a row, partial-task UIS", found, "partial", 0.4),
        _retain("6. requests in a row, retain metrics", found),
        _all_of("6. requests in a row, the first one's audit", "pass", verdicts),
    ]


def _audit(checks: Sequence[AnyCheck]) -> list[Bar]:
    verdicts, rates = [], []
    for check in checks:
        if isinstance(check, Controls):
            seen = (check.copied, check.ruined, check.retrained)
            where = f"{', '.join(seen)}: {check.workload}, {check.scope}"
            verdicts.append((0.0 if seen == ("fail", "fail", "pass") else 1.0, where))
        elif isinstance(check, FalseFailures):
            seen_as = f"{check.failed} of {check.draws}, {check.inconclusive} undecided"
            rates.append((check.failed / check.draws, f"{seen_as}: {check.workload}"))
    return [
        _all_of("7. copy, ruined, retrained", "fail, fail, pass", verdicts),
        _worst("7. false failures", "at most 5 % of 100 draws", rates, 0.05, "{:.0%}"),
    ]


def _worst(
    name: str, target: str, values: Sequence[tuple[float, str]], bar: float, form: str = ""
) -> Bar:
    """The bar by its worst value; it is met where that one is at most `bar`.

    `form` writes the value before the words that go with it; without it the words say all.
    """
    if not values:
        return Bar(name, target, "-", "not measured")
    value, where = max(values)
    within = sum(v <= bar for v, _ in values)
    seen = f"{form.format(value)} ({where})" if form else where
    measured = f"{seen}; {within} of {len(values)} within"
    return Bar(name, target, measured, "yes" if within == len(values) else "no")


def _all_of(name: str, target: str, values: Sequence[tuple[float, str]]) -> Bar:
    """The bar by how many are as they have to be; those that are not are named."""
    if not values:
        return Bar(name, target, "-", "not measured")
    wrong = [where for value, where in values if value]
    measured = f"{len(values) - len(wrong)} of {len(values)}"
    if wrong:
        measured += "; otherwise " + "; ".join(wrong)
    return Bar(name, target, measured, "no" if wrong else "yes")
