"""Progress for people: a moving bar on a terminal, now and then a line elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

_SECONDS_BETWEEN_LINES: Final = 5.0

OnStep = Callable[[str, float, float | None, float | None], None]
"""Called with (what is being done, done so far, of, seconds left)."""


@contextmanager
def bar(title: str) -> Iterator[OnStep]:
    """A bar on standard error, which is gone at the end; sparse lines if that is no terminal."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines(title)
        return
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        TextColumn("[dim]{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None, left="")

        def on_step(what: str, done: float, of: float | None, left: float | None) -> None:
            told = "" if left is None else f"{left:.0f} s left"
            progress.update(task, description=what, completed=done, total=of, left=told)

        yield on_step


@contextmanager
def bytes_bar(title: str, size: int | None) -> Iterator[Callable[[int, int], None]]:
    """A bar over bytes."""
    with bar(title) as on_step:

        def on_bytes(done: int, of: int) -> None:
            on_step(title, done, size or of, None)

        yield on_bytes


class _Lines:
    """A line when something else begins, and every few seconds while it goes on."""

    def __init__(self, title: str) -> None:
        self._told = title
        self._at = time.monotonic()

    def __call__(self, what: str, done: float, of: float | None, left: float | None) -> None:
        now = time.monotonic()
        if what == self._told and now - self._at < _SECONDS_BETWEEN_LINES:
            return
        self._told, self._at = what, now
        share = f" {done / of:.0%}" if of else ""
        seconds = "" if left is None else f", {left:.0f} s left"
        sys.stderr.write(f"  {what}{share}{seconds}\n")
        sys.stderr.flush()
