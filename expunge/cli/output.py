"""What commands print: JSON for programs, tables and `name: value` lines for people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from expunge.answers import Answer

STATE_STYLES: Mapping[str, str] = {
    "completed": "green",
    "succeeded": "green",
    "verified": "green",
    "pass": "green",
    "completed_with_exceptions": "yellow",
    "inconclusive": "yellow",
    "staged": "yellow",
    "awaiting_approval": "yellow",
    "on_hold": "yellow",
    "failed": "red",
    "rejected": "red",
    "fail": "red",
}


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show(answer: Answer, *, as_json: bool) -> None:
    """One answer, a line a member."""
    plain = answer.model_dump(mode="json", by_alias=True)
    if as_json:
        print_json(plain)
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in plain.items():
        if value not in (None, [], {}, ()):
            table.add_row(name.replace("_", " "), _cell(value))
    console().print(table)


def show_list(
    answers: Iterable[Answer], columns: Sequence[str], *, limit: int, as_json: bool
) -> None:
    """Up to `limit` answers, a row each; a column is a path such as `model.name`."""
    shown = [answer.model_dump(mode="json", by_alias=True) for answer in islice(answers, limit)]
    if as_json:
        print_json(shown)
        return
    if not shown:
        typer.echo("nothing yet")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.split(".")[0].replace("_", " "), overflow="fold")
    for plain in shown:
        table.add_row(*(_cell(_at(plain, column)) for column in columns))
    console().print(table)


def console() -> Console:
    """Standard output as rich sees it; a pipe gets lines wide enough not to be folded."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=200)


def _at(plain: Mapping[str, Any], column: str) -> Any:
    value: Any = plain
    for name in column.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        style = STATE_STYLES.get(value)
        return f"[{style}]{value}[/]" if style else _escaped(_time(value))
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return _escaped(", ".join(value))
    return _escaped(json.dumps(value, ensure_ascii=False))


def _time(text: str) -> str:
    if len(text) < 19 or text[4:5] != "-" or text[10:11] != "T":
        return text
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except ValueError:
        return text


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")
