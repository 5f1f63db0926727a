"""The reference pages are what the code makes of them."""

from pathlib import Path

import pytest

import write_reference

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(write_reference.PAGES))
def test_a_reference_page_is_current(name: str) -> None:
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == write_reference.PAGES[name](), "run: python docs/write_reference.py"
