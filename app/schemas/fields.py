"""Field types that every request shares: text that any database can hold, moments with a zone."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("the character U+0000 cannot be stored; remove it")
    return text


def _written_out(value: object) -> object:
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError("give an RFC 3339 time with a zone, such as 2026-03-04T09:00:00Z")
    return value


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("this moment is outside the years 1 to 9999 in UTC") from None


Text = Annotated[str, AfterValidator(_without_nul)]
"""A string without U+0000, which PostgreSQL cannot hold; a lone surrogate is no string at all."""

InstanceId = Annotated[Text, Field(min_length=1, max_length=512)]
SubjectId = Annotated[Text, Field(min_length=1, max_length=512)]
TaskName = Annotated[Text, Field(min_length=1, max_length=100)]

Instant = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]
"""An RFC 3339 time, in UTC from here on."""
