"""Cursors: opaque, exact, and never an offset."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pagination import Page, decode, encode
from app.problems import Invalid


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60))
def test_a_cursor_gives_its_key_back(key: str) -> None:
    assert decode(encode(key)) == key


@given(st.text(max_size=60))
def test_anything_else_is_refused_or_is_a_cursor(text: str) -> None:
    try:
        key = decode(text)
    except Invalid:
        return
    assert encode(key) == text


@given(st.lists(st.integers(0, 10_000), unique=True), st.integers(1, 7))
def test_pages_hold_every_row_once(numbers: list[int], limit: int) -> None:
    rows = sorted(numbers, reverse=True)
    seen: list[int] = []
    after: str | None = None
    while True:
        page = Page(limit, after)
        below = page.after_number()
        found = [n for n in rows if below is None or n < below][: limit + 1]
        shown, cursor = page.cut(found, lambda n: n)
        seen += shown
        if cursor is None:
            break
        after = decode(cursor)
    assert seen == rows


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(Invalid, match="not a cursor of this list"):
        Page(10, "ver_0123").after_number()


@pytest.mark.parametrize(
    "key", ["req_01", "2026-01-01T00:00:00+00:00", "2026-01-01 req_01", "soon req_01"]
)
def test_a_cursor_of_another_list_is_refused_where_pages_go_by_a_moment(key: str) -> None:
    with pytest.raises(Invalid, match="not a cursor of this list"):
        Page(10, key).after_moment()
