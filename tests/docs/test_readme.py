"""The README's links lead somewhere, and the demo's output finds its place."""

import re
from pathlib import Path

import paste_demo_output

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_link_of_the_readme_names_a_file_that_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    assert links
    for link in links:
        assert (ROOT / link).is_file(), link


def test_what_the_readme_calls_a_make_target_is_one() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", README)) <= targets


def test_the_demo_output_is_pasted_between_the_markers_without_colours_and_redrawn_lines() -> None:
    output = "\x1b[1m1/6\x1b[0m start\nbar 10 %\rbar 100 %  \nend\n"
    once = paste_demo_output.pasted(README, output)
    assert "```text\n1/6 start\nbar 100 %\nend\n```" in once
    assert paste_demo_output.pasted(once, output) == once
    assert once.endswith(README.partition(paste_demo_output.END)[2])
