from benchmarks.unlearning.reading import reading
from benchmarks.unlearning.rows import Row
from benchmarks.unlearning.summary import fields


def row(method: str, uis: float, **changes: object) -> Row:
    plain = Row(
        workload="digits",
        scope="full",
        forget_set="random:0.1",
        ratio=0.1,
        seed=0,
        method=method,
        stop="own",
        uis=uis,
        auc={"digit": (0.45, 0.5, 0.55)},
        verdict="pass",
        clock="processor",
        kept={"digit": 1.0},
    )
    return plain.model_copy(update=changes)


def said(*rows: Row) -> str:
    return reading(fields(rows))


def test_nothing_is_said_without_a_row_of_the_default_method() -> None:
    assert said(row("retrain", 3.0)) == ""


def test_what_is_reached_is_said_as_plainly_as_what_is_not() -> None:
    text = said(row("retrain", 3.0), row("interference_aware", 2.0), row("neggrad_plus", 5.0))
    assert "at or below retraining's own in 1 of 1." in text
    assert "what retraining itself leaves in 1 of 1" in text
    assert "keeps what bar 3 asks for everywhere" in text
    assert "do not all pass" not in text


def test_shortfalls_are_named() -> None:
    text = said(
        row("retrain", 3.0, verdict="inconclusive"),
        row("interference_aware", 4.0, verdict="fail", kept={"digit": 0.95}, clock="wall"),
    )
    assert "It is above in: digits, full, random:0.1 (4.0 against 3.0)." in text
    assert "passes no retrained network in: digits, full, random:0.1." in text
    assert "95.0% on digit (digits, full, random:0.1)" in text
    assert "digits, full, random:0.1: 1 fail (retrained: 1 inconclusive)" in text
    assert "1 of 2 rows were timed by the wall clock" in text
