"""Imported files of ids, a line at a time: JSON lines or CSV, each row an instance or a subject.

JSON lines hold `{"instance": "img-7"}` or `{"subject": "person-19"}`. CSV begins with a header of
the columns `instance` and `subject`, or one of them; a row fills exactly one. A record never goes
over the end of its line, so that a line's number says where it is. Empty lines are passed over.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from app.schemas.deletion_requests import ImportFormat
from app.text_lines import BadLine, numbered, storable

LONGEST_LINE: Final = 10_000
"""Bytes; an id of 512 characters takes less, however it is written."""
_COLUMNS: Final = ("instance", "subject")
_BOM: Final = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """What one line names."""

    line: int
    is_subject: bool
    id: str


class Fault(NamedTuple):
    """Why one line cannot be used."""

    line: int
    detail: str


class BadHeader(ValueError):
    """A CSV file whose first line does not say what its columns are."""


def read(file: Path, form: ImportFormat) -> Iterator[Row | Fault]:
    """The file's rows, good and bad, in their order. Raises BadHeader."""
    lines = _lines(file)
    parse = _parse_json if form == "jsonl" else _csv_parser(next(lines, (1, b""))[1])
    for number, raw in lines:
        if len(raw) <= LONGEST_LINE and not raw.strip():
            continue
        try:
            is_subject, name = parse(_text(raw))
            yield Row(number, is_subject, storable(_COLUMNS[is_subject], name))
        except BadLine as error:
            yield Fault(number, str(error))


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    for number, raw in numbered(file, LONGEST_LINE):
        yield number, raw.removeprefix(_BOM) if number == 1 else raw


def _text(raw: bytes) -> str:
    if len(raw) > LONGEST_LINE:
        raise BadLine(f"longer than {LONGEST_LINE} bytes")
    try:
        return raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise BadLine("not UTF-8") from None


def _parse_json(text: str) -> tuple[bool, Any]:
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        raise BadLine("not JSON") from None
    if not isinstance(entry, dict):
        raise BadLine('not a JSON object such as {"instance": "img-7"}')
    unknown = entry.keys() - set(_COLUMNS)
    if unknown:
        raise BadLine(f"unknown member {min(unknown)!r:.100}")
    if len(entry) != 1:
        raise BadLine("give exactly one of instance and subject")
    ((column, name),) = entry.items()
    return column == "subject", name


def _csv_parser(header: bytes) -> Callable[[str], tuple[bool, Any]]:
    try:
        columns = _fields(_text(header))
    except BadLine as error:
        raise BadHeader(f"the header is {error}") from None
    if not columns or not set(columns) <= set(_COLUMNS) or len(set(columns)) < len(columns):
        shown = ",".join(columns)
        raise BadHeader(
            f"the header must name the columns instance and subject, or one of them,"
            f" not {shown!r:.100}"
        )
    subjects = [column == "subject" for column in columns]

    def parse(text: str) -> tuple[bool, Any]:
        fields = _fields(text)
        if len(fields) != len(columns):
            raise BadLine(f"{len(fields)} fields where the header has {len(columns)}")
        given = [one for one in zip(subjects, fields, strict=True) if one[1]]
        if len(given) != 1:
            raise BadLine(f"fill {'exactly one of ' if len(columns) > 1 else ''}{_named(columns)}")
        return given[0]

    return parse


def _named(columns: list[str]) -> str:
    return " and ".join(columns)


def _fields(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise BadLine(f"not CSV: {error}") from None
