from pathlib import Path

import pytest

from benchmarks.unlearning.bars import bars
from benchmarks.unlearning.checks import Controls, FalseFailures, StepCost, read_checks
from benchmarks.unlearning.plots import draw
from benchmarks.unlearning.rows import Row, TaskMetrics, append
from benchmarks.unlearning.summary import fields
from benchmarks.unlearning.tables import render


def row(method: str, uis: float, seed: int = 0, **changes: object) -> Row:
    plain = Row(
        workload="digits",
        scope="full",
        forget_set="random:0.1",
        ratio=0.1,
        seed=seed,
        method=method,
        stop="own",
        uis=uis,
        uis_minus_retrain=uis - 3,
        metrics={"digit": TaskMetrics(forget=0.5, retain=0.9, val=0.5, test=0.5)},
        auc={"digit": (0.45, 0.5, 0.55)},
        verdict="pass",
        seconds=1.0,
        share_of_retraining=0.1,
        gradients=200,
        peak_bytes=3_000_000,
        kept={"digit": 1.0},
    )
    return plain.model_copy(update=changes)


ROWS = [
    row("retrain", 3.0, gradients=1000),
    row("retrain", 4.0, seed=1, gradients=1000),
    row("interference_aware", 3.0),
    row("interference_aware", 4.0, seed=1),
    row("neggrad_plus", 10.0),
    row("neggrad_plus", 8.0, stop="oracle"),
    row("finetune", 5.0, kept={"digit": 0.5}),
    row("scrub", 5.0, auc={"digit": (0.6, 0.7, 0.8)}),
]
STRANGERS = FalseFailures(workload="digits", options={}, draws=100, failed=6, inconclusive=1)


def measured(name: str, rows: list[Row] = ROWS) -> tuple[str, str]:
    (bar,) = [bar for bar in bars(fields(rows), [STRANGERS]) if bar.name == name]
    return bar.measured, bar.met


def test_the_strongest_baseline_is_one_that_keeps_quality_and_looks_unseen() -> None:
    (field,) = fields(ROWS)
    assert field.strongest is not None
    assert field.strongest.method == "neggrad_plus"


def test_where_no_baseline_qualifies_the_bar_says_so_and_is_not_called_met() -> None:
    others = [row_ for row_ in ROWS if row_.method != "neggrad_plus"]
    seen, met = measured("1. full-task UIS", others)
    assert met == "no rival"
    assert "no baseline keeps 95 % and looks unseen: digits, full, random:0.1" in seen
    alone = [row_ for row_ in ROWS if row_.method in ("retrain", "interference_aware")]
    assert measured("1. full-task UIS", alone) == ("-", "not measured")


def test_a_bar_is_met_where_its_worst_case_is() -> None:
    text, met = measured("1. full-task UIS")
    assert text.startswith("0.35 x (digits, full, random:0.1, against neggrad_plus)")
    assert met == "yes"
    assert measured("4. cost at 10 % forgotten, gradients") == (
        "0.20 (digits, full, random:0.1); 1 of 1 within",
        "yes",
    )


def test_a_bar_that_is_missed_says_by_how_much() -> None:
    worse = [*ROWS, row("interference_aware", 4.0, seed=2, kept={"digit": 0.91})]
    text, met = measured("3. retain metrics", worse)
    assert text.startswith("97.0% on digit: digits, full, random:0.1; 0 of 1 within")
    assert met == "no"
    assert measured("7. false failures") == (
        "6% (6 of 100, 1 undecided: digits); 0 of 1 within",
        "no",
    )


def test_what_no_row_speaks_of_is_not_measured() -> None:
    assert measured("2. partial-task UIS") == ("-", "not measured")
    assert measured("6. requests in a row, the first one's audit") == ("-", "not measured")


def test_the_first_request_in_a_row_has_to_stay_passed() -> None:
    sequence = [
        row("interference_aware", 4.0, forget_set="sequence:2", request=k, first_verdict=verdict)
        for k, verdict in ((1, "pass"), (2, "fail"))
    ]
    assert measured("6. requests in a row, the first one's audit", sequence) == (
        "0 of 1; otherwise fail: digits, full, sequence:2",
        "no",
    )


def test_the_page_has_means_oracles_and_failures() -> None:
    failed = Row(
        workload="digits",
        scope="full",
        forget_set="random:0.1",
        ratio=0.1,
        seed=0,
        method="ssd",
        stop="own",
        error="a weight became NaN",
    )
    page = render([*ROWS, failed], [STRANGERS], "rows.jsonl", [])
    assert "| `interference_aware` | 3.5 +- 0.7 | +0.5 +- 0.7 | 100.0% +- 0.0% |" in page
    assert "| `neggrad_plus` | 10.0 (8.0) |" in page
    assert "| `ssd` | failed: a weight became NaN |" in page
    assert "6 of 100 fail, 1 inconclusive" in page


def test_further_metrics_have_columns_beside_the_tasks_own() -> None:
    share = TaskMetrics(forget=0.25, retain=0.75, val=None, test=0.5)
    rows = [row("finetune", 5.0, extra_metrics={"depth": {"delta1": share}}), row("ssd", 6.0)]
    page = render(rows, [], "rows.jsonl", [])
    assert "| Metric on forget / retain / validation / test | digit | depth delta1 |" in page
    assert "| `finetune` | 0.5 / 0.9 / 0.5 / 0.5 | 0.25 / 0.75 / - / 0.5 |" in page
    assert "| `ssd` | 0.5 / 0.9 / 0.5 / 0.5 | - / - / - / - |" in page


def test_the_same_rows_give_the_same_drawings(tmp_path: Path) -> None:
    in_a_row = [
        row("interference_aware", 2.0 + k, forget_set="sequence:3", request=k) for k in (1, 2, 3)
    ]
    first, second = (draw([*ROWS, *in_a_row], tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [
        "digits-uis-against-cost.svg",
        "digits-retain-against-forget.svg",
        "digits-requests-in-a-row.svg",
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_checks_come_back_as_they_were_the_latest_of_each(tmp_path: Path) -> None:
    path = tmp_path / "checks.jsonl"
    known = Controls(
        workload="digits", options={}, scope="full", seed=0, copied="fail", ruined="fail",
        retrained="pass",
    )  # fmt: skip
    step = StepCost(
        workload="digits", options={}, scope="full", seconds=2.0, plain_seconds=1.0,
        peak_bytes=None, plain_peak_bytes=None,
    )  # fmt: skip
    append(path, [known, STRANGERS, step, known.model_copy(update={"ruined": "pass"})])
    found = read_checks(path)
    assert found == [known.model_copy(update={"ruined": "pass"}), STRANGERS, step]
    missed = [bar for bar in bars([], found) if bar.met == "no"]
    assert [bar.name for bar in missed] == ["7. copy, ruined, retrained", "7. false failures"]


@pytest.mark.parametrize("rows", [[], ROWS[:1]])
def test_few_rows_make_a_page_too(rows: list[Row]) -> None:
    assert "## Bars" in render(rows, [], "rows.jsonl", [])
