"""Deadlines count in calendar months (GDPR Art. 12(3)), not in days."""

import calendar
from datetime import UTC, datetime


def add_months(at: datetime, months: int) -> datetime:
    """The same day and time `months` calendar months later, in UTC.

    Where that month is too short, its last day: a month after 31 January is 28 or 29 February
    (Regulation 1182/71, Art. 3(2)(c)). Raises ValueError past the year 9999.
    """
    at = at.astimezone(UTC)
    years, month = divmod(at.month - 1 + months, 12)
    year, month = at.year + years, month + 1
    if year > 9999:
        raise ValueError(f"{months} months after {at.isoformat()} is past the year 9999")
    return at.replace(year=year, month=month, day=min(at.day, calendar.monthrange(year, month)[1]))


def extended(received_at: datetime, due_at: datetime, months: int) -> datetime:
    """The deadline `due_at` moved by further calendar months.

    One that was due by law, a month after it was received, is counted from there anew: received on
    31 January and extended by two months, it is due on 30 April, not on the 28th. Any other is
    counted from `due_at`. Raises ValueError past the year 9999.
    """
    by_law = due_at == add_months(received_at, 1)
    return add_months(received_at, 1 + months) if by_law else add_months(due_at, months)
