import json
from pathlib import Path

import pytest

from benchmarks.unlearning.rows import Row, append, read_rows

GOOD = Row(
    workload="digits",
    scope="full",
    forget_set="random:0.1",
    ratio=0.1,
    seed=0,
    method="finetune",
    stop="own",
    uis=5.0,
)


def test_a_row_begins_with_the_members_that_readers_rely_on(tmp_path: Path) -> None:
    append(tmp_path / "rows.jsonl", [GOOD])
    members = list(json.loads((tmp_path / "rows.jsonl").read_text()))
    assert members[:16] == [
        "workload", "scope", "forget_set", "ratio", "seed", "method", "stop", "uis",
        "uis_minus_retrain", "metrics", "auc", "verdict", "seconds", "share_of_retraining",
        "gradients", "peak_bytes",
    ]  # fmt: skip


def test_rows_come_back_as_they_were_and_a_later_one_replaces_an_earlier(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    oracle = GOOD.model_copy(update={"stop": "oracle", "uis": 3.0})
    append(path, [GOOD, oracle])
    better = GOOD.model_copy(update={"uis": 4.0})
    append(path, [better])
    assert read_rows(path) == [better, oracle]


def test_an_error_counts_until_the_run_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    failed = GOOD.model_copy(update={"uis": None, "error": "a loss became NaN"})
    append(path, [failed])
    assert read_rows(path) == [failed]
    append(path, [GOOD])
    assert read_rows(path) == [GOOD]


def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append(path, [GOOD])
    path.write_text(path.read_text() + '{"workload": "digits"}\n')
    with pytest.raises(ValueError, match="line 2: scope: Field required"):
        read_rows(path)


def test_a_row_from_before_the_further_metrics_still_loads(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    old = json.loads(GOOD.model_dump_json())
    del old["extra_metrics"]
    path.write_text(json.dumps(old) + "\n")
    assert read_rows(path) == [GOOD]


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "none.jsonl") == []
