"""The benchmark of the service: its rows, its page, and a small run of what is quick."""

from pathlib import Path

import pytest

from benchmarks.service import growing, verifying
from benchmarks.service.__main__ import main
from benchmarks.service.databases import SqliteDatabases
from benchmarks.service.rows import Row, append, missing, read_rows


def row(name: str, ratio: float, sense: str = "at most", section: str = "rows") -> Row:
    return Row.model_validate(
        {
            "name": name,
            "ours": ratio,
            "reference": 1.0,
            "ratio": ratio,
            "target": 1.5,
            "sense": sense,
            "unit": "ms",
            "section": section,
        }
    )


def test_the_latest_row_of_a_name_counts_and_the_page_follows_from_the_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "service.jsonl"
    append(out, row("list", 9.0))
    append(out, missing("download", "download", "nginx is not installed", 0.5, "at least"))
    append(out, row("list", 1.25))
    append(out, row("post", 1.25, "at least", "post"))
    assert [(one.name, one.met) for one in read_rows(out)] == [
        ("post", False),
        ("list", True),
        ("download", None),
    ]
    assert main(["--render-only", "--out", str(out)]) == 0
    page = (tmp_path / "service.md").read_text()
    assert "| list | 1.25 ms | 1 ms | 1.25 | at most 1.5 | yes |" in page
    assert "| not measured | at least 0.5 | - | nginx is not installed |" in page
    drawing = (tmp_path / "service.svg").read_bytes()
    assert main(["--render-only", "--out", str(out)]) == 0
    assert (tmp_path / "service.svg").read_bytes() == drawing


def test_what_grows_is_measured_in_databases_of_two_sizes(tmp_path: Path) -> None:
    found = list(growing.measure(SqliteDatabases(tmp_path), tmp_path, large=1500, repeats=1))
    names = {one.name for one in found}
    assert {"claim, SQLite", "list of requests, by subject, SQLite"} <= names
    assert all(one.ratio is not None and one.ratio > 0 for one in found)


def test_a_ledger_is_verified_and_its_bytes_are_hashed(tmp_path: Path) -> None:
    found, alone = verifying.measure(SqliteDatabases(tmp_path), tmp_path, events=50, turns=1)
    assert found.ratio is not None
    assert alone.target is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--only", "magic"],
            "'magic' is none of post, pieces, rows, verify, share, download, start",
        ),
        (["--databases", "oracle"], "database 'oracle' is neither of sqlite and postgresql"),
    ],
)
def test_a_wrong_argument_of_the_service_benchmark_ends_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "rows.jsonl")]) == 2
    assert sentence in capsys.readouterr().err


def test_a_line_that_is_no_row_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.jsonl"
    out.write_text('{"name": 1}\n')
    assert main(["--render-only", "--out", str(out)]) == 2
    assert "line 1: name" in capsys.readouterr().err
