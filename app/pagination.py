"""Lists by opaque cursor, newest first: never an offset, never a total that must be counted."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel

from app.problems import Invalid

T = TypeVar("T")
Row = TypeVar("Row")


class Items(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = None
    """Give it as `after` to get the next page; null on the last one."""


@dataclass(frozen=True)
class Page:
    """What the caller asked to see."""

    limit: int
    after: str | None
    """The key of the last row seen, decoded."""

    def cut(
        self, rows: Sequence[Row], key: Callable[[Row], str | int]
    ) -> tuple[Sequence[Row], str | None]:
        """The page's rows and the cursor behind them, of `limit + 1` rows that were asked for."""
        if len(rows) <= self.limit:
            return rows, None
        shown = rows[: self.limit]
        return shown, encode(str(key(shown[-1])))

    def after_number(self) -> int | None:
        """`after` where lists are keyed by a number; 422 for the cursor of another list."""
        if self.after is None:
            return None
        if not self.after.isdecimal() or len(self.after) > 18:
            raise _not_ours()
        return int(self.after)

    def after_moment(self) -> tuple[datetime, str] | None:
        """`after` where lists are keyed by `moment_key`; 422 for the cursor of another list."""
        if self.after is None:
            return None
        moment, _, id = self.after.partition(" ")
        try:
            at = datetime.fromisoformat(moment)
        except ValueError:
            raise _not_ours() from None
        if at.tzinfo is None or not id:
            raise _not_ours()
        return at, id


def moment_key(at: datetime, id: str) -> str:
    """The key of a row in a list that goes by a moment, and among equals by id."""
    return f"{at.isoformat()} {id}"


def encode(key: str) -> str:
    """An opaque cursor that points behind the row of this key."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    """The key in a cursor; 422 where it is not one of ours."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        key = base64.b64decode(padded, b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise _not_ours() from None
    if not key.isprintable() or encode(key) != cursor:
        raise _not_ours()
    return key


async def get_page(
    limit: Annotated[int, Query(ge=1, le=200, description="rows a page")] = 50,
    after: Annotated[
        str | None, Query(max_length=1000, description="`next` of the page before")
    ] = None,
) -> Page:
    """The page that the query asks for."""
    return Page(limit, decode(after) if after else None)


PageDep = Annotated[Page, Depends(get_page)]


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    """Add `Link: <...>; rel="next"` where there is a next page."""
    if cursor is not None:
        url = request.url.include_query_params(after=cursor)
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'


def _not_ours() -> Invalid:
    return Invalid("query:after", "after is not a cursor of this list; start without it")
