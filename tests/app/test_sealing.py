"""A row's digests are HMACs over canonical JSON, however they are put together."""

import base64
import hmac
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sealing import plain, seal_of
from app.states import RequestState
from expunge.canonical import canonical_json

NOBODY: Any = SimpleNamespace()
"""In the place of pseudonyms where no column names subjects."""

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
moments = st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-7))))
values = json_values | moments | st.binary() | st.sampled_from(RequestState)


@given(
    st.binary(min_size=1, max_size=100),
    st.text(),
    st.dictionaries(st.sampled_from(["state", "due_at", "cost"]), values, min_size=1),
)
def test_each_digest_is_the_hmac_of_row_column_and_value(
    seal_key: bytes, key: str, row: dict[str, Any]
) -> None:
    sealed = seal_of(seal_key, "jobs", key, row, NOBODY)
    assert list(sealed) == list(row)
    for column, value in row.items():
        content = canonical_json([f"jobs/{key}", column, plain(value)])
        mac = hmac.digest(seal_key, content, "sha256")[:12]
        assert sealed[column] == base64.urlsafe_b64encode(mac).decode()


def test_what_is_no_value_of_any_column_is_not_sealed() -> None:
    for value in (float("nan"), [float("inf")], object()):
        with pytest.raises((TypeError, ValueError)):
            seal_of(b"key", "jobs", "job_1", {"cost": value}, NOBODY)


def test_no_columns_give_no_digests() -> None:
    assert seal_of(b"key", "jobs", "job_1", {}, NOBODY) == {}
    assert plain(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000000+00:00"
