"""The results as Markdown: the bars, then a table a question."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.unlearning.bars import AnyCheck, Bar, bars
from benchmarks.unlearning.checks import Controls, FalseFailures, StepCost
from benchmarks.unlearning.reading import reading
from benchmarks.unlearning.rows import Row, TaskMetrics
from benchmarks.unlearning.summary import Answer, Field, Spread, fields, spread

_INTRODUCTION = """\
# Benchmark

Written by `python -m benchmarks.unlearning` from the raw results in `{raw}`; nothing here is
typed by hand. {count} runs, {seeds} seed{plural}, on {devices}.

How it is measured:

- The UIS (Unlearning Impact Score x 100, lower is better), the membership AUC and every test metric
  are taken on the **test split**, which no method, no tuning and no stop has seen. The verdict is
  that of the audit, by the judging half of the validation split.
- All methods start from the same original and have the same retain data. A baseline's settings are
  the best of an equal number of trials by the calibrating half of the validation split, tuned anew
  for each workload, scope and forget set; it stops where that half says. `interference_aware` has
  one set of constants for everything.
- In brackets: the UIS that a baseline would have had at its best step by test, which nobody can
  know in service.
- *Retain* is the worst task's share of the original's retain metric that is left; errors in units
  of the original's error on test. *Time* and *gradients* are shares of retraining from scratch.
  Time is the processor's where one thread on the CPU did the work (`"clock": "processor"` in the
  raw results), else what passed on a machine that had other work too; a share is left out where
  the two clocks would be mixed.
  *AUC* is the furthest from .5 among the target tasks, with its 95 % interval. *Audit* counts pass,
  fail and inconclusive.
- Values are means +- standard deviations over seeds. A failed run is shown with what it said.
"""


def render(rows: Sequence[Row], checks: Sequence[AnyCheck], raw: str, plots: Sequence[Path]) -> str:
    """The whole page."""
    found = fields(rows)
    seeds = len({row.seed for row in rows})
    parts = [
        _INTRODUCTION.format(
            raw=raw,
            count=len({row.key for row in rows}),
            seeds=seeds,
            plural="" if seeds == 1 else "s",
            devices=" and ".join(sorted({row.device for row in rows})) or "nothing yet",
        ),
        "## Bars\n\n" + _bars_table(bars(found, checks)),
    ]
    if said := reading(found):
        parts.append("## What the results say\n\n" + said)
    if plots:
        images = [f"![{path.stem.replace('-', ' ')}]({path.name})" for path in plots]
        parts.append("## Plots\n\n" + "\n\n".join(images) + "\n")
    if checks:
        parts.append("## Checks\n\n" + _checks_table(checks))
    parts.append("## Runs\n")
    parts += [_section(field) for field in found]
    return "\n".join(parts)


def _bars_table(found: Sequence[Bar]) -> str:
    lines = [[bar.name, bar.target, bar.measured, bar.met] for bar in found]
    return _table(["Bar", "Target", "Measured (the worst case)", "Met"], lines)


def _checks_table(checks: Sequence[AnyCheck]) -> str:
    lines = []
    for check in checks:
        match check:
            case Controls():
                lines.append(
                    [
                        "controls at 10 %",
                        f"{check.workload}, {check.scope}, seed {check.seed}",
                        f"copy {check.copied}, ruined {check.ruined}, retrained {check.retrained}",
                    ]
                )
            case FalseFailures():
                lines.append(
                    [
                        "audits of strangers",
                        check.workload,
                        f"{check.failed} of {check.draws} fail, {check.inconclusive} inconclusive",
                    ]
                )
            case StepCost():
                peak = ""
                if check.peak_bytes is not None and check.plain_peak_bytes is not None:
                    peak = (
                        f"; {_megabytes(check.peak_bytes)} against"
                        f" {_megabytes(check.plain_peak_bytes)}"
                    )
                lines.append(
                    [
                        "one step against a plain one",
                        f"{check.workload}, {check.scope}",
                        f"{1000 * check.seconds:.1f} ms against"
                        f" {1000 * check.plain_seconds:.1f} ms{peak}",
                    ]
                )
    return _table(["Check", "Where", "Result"], lines)


def _section(field: Field) -> str:
    question = field.question
    options = "" if question.options == "{}" else f" Options: `{question.options}`."
    answers = list(field.answers.values())
    text = f"### {question.title}\n"
    if any(answer.rows for answer in answers):
        text += f"\n{field.ratio:.1%} of the training instances.{options}\n"
    return f"{text}\n{_results(answers)}\n{_metrics(answers)}"


def _results(answers: Sequence[Answer]) -> str:
    header = [
        "Method", "UIS", "minus retrain's", "Retain", "AUC", "Audit", "Time", "Gradients", "Memory",
        "Seeds",
    ]  # fmt: skip
    gradients = _retraining_gradients(answers)
    lines = []
    for answer in answers:
        if not answer.rows:
            lines.append([f"`{answer.method}`", f"failed: {answer.errors[0]}", *[""] * 7, "0"])
            continue
        lines.append(
            [
                f"`{answer.method}`",
                _uis(answer),
                _spread(answer.over(lambda row: row.uis_minus_retrain), "{:+.1f}", "{:.1f}"),
                _spread(answer.kept, "{:.1%}", "{:.1%}"),
                _auc(answer),
                _verdicts(answer),
                _spread(answer.over(lambda row: row.share_of_retraining), "{:.2f}", "{:.2f}"),
                _share_of(gradients, answer),
                _memory(answer),
                str(len(answer.rows))
                + (f", {len(answer.errors)} failed: {answer.errors[0]}" if answer.errors else ""),
            ]
        )
    return _table(header, lines)


def _metrics(answers: Sequence[Answer]) -> str:
    """Each task's metric on the four sets, and its further ones, means over seeds."""
    measured = [[_measurements(row) for row in answer.rows] for answer in answers]
    names = list(dict.fromkeys(name for rows in measured for row in rows for name in row))
    lines = []
    for answer, rows in zip(answers, measured, strict=True):
        if not rows:
            continue
        cells = []
        for name in names:
            values = []
            for place in ("forget", "retain", "val", "test"):
                mean = spread(getattr(row[name], place) for row in rows if name in row)
                values.append("-" if mean is None else f"{mean.mean:.3g}")
            cells.append(" / ".join(values))
        lines.append([f"`{answer.method}`", *cells])
    if not lines:
        return ""
    header = ["Metric on forget / retain / validation / test", *names]
    return _table(header, lines)


def _measurements(row: Row) -> dict[str, TaskMetrics]:
    """A row's metrics under the headings of their columns."""
    extra = {
        f"{task} {name}": found
        for task, metrics in row.extra_metrics.items()
        for name, found in metrics.items()
    }
    return {**row.metrics, **extra}


def _uis(answer: Answer) -> str:
    text = _spread(answer.uis, "{:.1f}", "{:.1f}")
    best = answer.oracle_uis
    return f"{text} ({best.mean:.1f})" if best else text


def _auc(answer: Answer) -> str:
    found = answer.auc()
    if not found:
        return "-"
    low, value, high = max(found.values(), key=lambda ends: abs(ends[1] - 0.5))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _verdicts(answer: Answer) -> str:
    counts = [
        (sum(row.verdict == verdict for row in answer.rows), verdict)
        for verdict in ("pass", "fail", "inconclusive")
    ]
    return ", ".join(f"{count} {verdict}" for count, verdict in counts if count) or "-"


def _retraining_gradients(answers: Sequence[Answer]) -> float | None:
    for answer in answers:
        if answer.method == "retrain":
            found = answer.over(lambda row: row.gradients)
            return found.mean if found else None
    return None


def _share_of(whole: float | None, answer: Answer) -> str:
    cost = answer.over(lambda row: row.gradients)
    return "-" if not whole or cost is None else f"{cost.mean / whole:.2f}"


def _memory(answer: Answer) -> str:
    found = answer.over(lambda row: row.peak_bytes)
    return "-" if found is None else _megabytes(found.mean)


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


def _spread(found: Spread | None, mean: str, sd: str) -> str:
    if found is None:
        return "-"
    return mean.format(found.mean) + ("" if found.sd is None else f" +- {sd.format(found.sd)}")


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)
