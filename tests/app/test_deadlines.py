from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.deadlines import add_months, extended

MOMENTS = st.datetimes(
    min_value=datetime(1, 1, 2), max_value=datetime(9998, 12, 30), timezones=st.just(UTC)
)


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2026-01-31", "2026-02-28"),
        ("2024-01-31", "2024-02-29"),
        ("2024-02-29", "2024-03-29"),
        ("2100-01-30", "2100-02-28"),
        ("2026-03-31", "2026-04-30"),
        ("2026-12-31", "2027-01-31"),
        ("2026-03-04", "2026-04-04"),
    ],
)
def test_a_month_later_is_the_same_day_or_the_last_one(received: str, due: str) -> None:
    at = datetime.fromisoformat(f"{received}T09:30:00+00:00")
    assert add_months(at, 1) == datetime.fromisoformat(f"{due}T09:30:00+00:00")


def test_the_day_is_counted_in_utc() -> None:
    east = timezone(timedelta(hours=10))
    assert add_months(datetime(2026, 3, 1, 5, tzinfo=east), 1) == datetime(
        2026, 3, 28, 19, tzinfo=UTC
    )


def test_a_deadline_past_the_last_year_is_refused() -> None:
    with pytest.raises(ValueError, match="past the year 9999"):
        add_months(datetime(9999, 12, 1, tzinfo=UTC), 1)


@given(MOMENTS, st.integers(0, 12))
def test_it_moves_that_many_months_and_never_to_a_later_day(at: datetime, months: int) -> None:
    later = add_months(at, months)
    assert (later.year - at.year) * 12 + later.month - at.month == months
    assert later.day <= at.day
    assert later.time() == at.time()
    assert later.day == at.day or (later + timedelta(days=1)).day == 1


@given(MOMENTS, MOMENTS)
def test_it_keeps_the_order_of_moments(one: datetime, other: datetime) -> None:
    if one <= other:
        assert add_months(one, 1).date() <= add_months(other, 1).date()


@pytest.mark.parametrize(
    ("received", "months", "due"),
    [
        ("2026-01-31", 1, "2026-03-31"),
        ("2026-01-31", 2, "2026-04-30"),
        ("2023-12-31", 1, "2024-02-29"),
        ("2025-11-30", 2, "2026-02-28"),
        ("2026-03-04", 2, "2026-06-04"),
    ],
)
def test_an_extension_is_counted_from_the_day_it_was_received(
    received: str, months: int, due: str
) -> None:
    at = datetime.fromisoformat(f"{received}T09:30:00+00:00")
    later = extended(at, add_months(at, 1), months)
    assert later == datetime.fromisoformat(f"{due}T09:30:00+00:00")


def test_a_deadline_that_its_owner_set_is_extended_from_there() -> None:
    received, due = datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 2, 20, tzinfo=UTC)
    assert extended(received, due, 2) == datetime(2026, 4, 20, tzinfo=UTC)


@given(MOMENTS, st.integers(1, 2))
def test_no_extension_is_shorter_than_month_by_month_or_ends_past_the_day(
    received: datetime, months: int
) -> None:
    due = add_months(received, 1)
    later = extended(received, due, months)
    assert later >= add_months(due, months) > due
    assert (later.year - received.year) * 12 + later.month - received.month == 1 + months
    assert later.day == received.day or (later + timedelta(days=1)).day == 1
    assert later.time() == received.time()
