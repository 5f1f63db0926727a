from pathlib import Path

import pytest

from benchmarks.unlearning.__main__ import main


def test_a_finished_run_is_not_repeated_and_the_page_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "docs" / "unlearning.jsonl"
    command = [
        *("--workload", "digits", "--options", '{"hidden": 16, "epochs": 3}', "--threads", "1"),
        *("--methods", "original,finetune", "--scopes", "full", "--forget-sets", "random:0.05"),
        *("--seeds", "1", "--trials", "1", "--out", str(out), "--cache", str(tmp_path / "cache")),
    ]
    assert main(command) == 0
    assert "finetune: UIS" in capsys.readouterr().out
    lines = out.read_text()
    assert main(command) == 0
    assert "finetune: UIS" not in capsys.readouterr().out
    assert out.read_text() == lines
    page = (tmp_path / "docs" / "unlearning.md").read_text()
    assert "### digits, full, random:0.05" in page
    assert "![digits uis against cost](digits-uis-against-cost.svg)" in page
    assert main([*command, "--again", "--minutes", "1e-9"]) == 0
    assert "are over; the same command goes on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--methods", "magic"], "method 'magic' is not installed"),
        (["--methods", "interference_aware[magic]"], "unknown ablation"),
        (["--forget-sets", "all"], "forget set 'all' is unknown"),
        (["--scopes", "half"], "scope 'half' is neither full nor partial"),
        (["--options", "{"], "--options is not JSON"),
        (["--workload", "nothing"], "workload 'nothing' is not installed"),
    ],
)
def test_a_wrong_argument_ends_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "rows.jsonl")]) == 2
    assert sentence in capsys.readouterr().err
