"""`python -m benchmarks.service`: measure, append to the raw results, render the page."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.service import (
    downloading,
    growing,
    page,
    pieces,
    posting,
    sharing,
    starting,
    verifying,
)
from benchmarks.service.databases import Databases, databases
from benchmarks.service.rows import SECTIONS, Row, append, read_rows

_OUT = Path("docs/benchmarks/service.jsonl")
KINDS = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    post_seconds: float
    post_turns: int
    rows: int
    repeats: int
    file_bytes: int
    file_turns: int
    events: int
    turns: int
    requests: int
    """That share a job."""
    named: str = ""
    """What the names of lists and claims that are measured hold."""


FULL = Size(3.0, 4, growing.LARGE, 40, 1_000_000_000, 5, 100_000, 3, 1000)
QUICK = Size(1.0, 2, 20_000, 5, 100_000_000, 3, 5_000, 3, 50)

Measure = Callable[[Databases, Path, Size], Iterator[Row]]
_EACH: Mapping[str, Measure] = {
    "post": lambda databases, folder, size: posting.measure(
        databases, folder, turns=size.post_turns, seconds=size.post_seconds
    ),
    "pieces": lambda databases, folder, _: pieces.measure(databases, folder),
    "rows": lambda databases, folder, size: growing.measure(
        databases, folder, large=size.rows, repeats=size.repeats, named=size.named
    ),
    "verify": lambda databases, folder, size: verifying.measure(
        databases, folder, events=size.events, turns=size.turns
    ),
    "share": lambda databases, folder, size: sharing.measure(
        databases, folder, requests=size.requests
    ),
}
"""Measured on each kind of database."""
_ONCE: Mapping[str, Measure] = {
    "download": lambda databases, folder, size: downloading.measure(
        databases, folder, size=size.file_bytes, turns=size.file_turns
    ),
    "start": lambda databases, folder, size: starting.measure(databases, folder, turns=size.turns),
}
"""Where the database makes no difference."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 with one sentence for what cannot be done."""
    given = _parser().parse_args(arguments)
    try:
        if not given.render_only:
            _measure(given)
        written = page.write(read_rows(given.out), given.out)
    except (ValueError, OSError) as error:
        print(f"benchmarks.service: {error}", file=sys.stderr)
        return 2
    print(f"rendered into {written}")
    return 0


def _measure(given: argparse.Namespace) -> None:
    sections = given.only.split(",") if given.only else [*_EACH, *_ONCE]
    for section in sections:
        if section not in (*_EACH, *_ONCE):
            raise ValueError(f"{section!r} is none of {', '.join([*_EACH, *_ONCE])}")
    kinds = given.databases.split(",")
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"database {kind!r} is neither of {' and '.join(KINDS)}")
    size = QUICK if given.quick else FULL
    size = replace(
        size,
        rows=given.rows or size.rows,
        events=given.events or size.events,
        named=given.named,
    )
    for section in sections:
        for kind in kinds if section in _EACH else kinds[:1]:
            print(f"{SECTIONS[section]}: {kind}", flush=True)
            measure = _EACH[section] if section in _EACH else _ONCE[section]
            with tempfile.TemporaryDirectory(prefix="expunge-benchmark-") as folder:
                place = Path(folder)
                with databases(kind, place) as found:
                    for row in measure(found, place, size):
                        append(given.out, row)
                        _tell(row)


def _tell(row: Row) -> None:
    if row.ratio is None:
        print(f"  {row.name}: not measured: {row.note}", flush=True)
        return
    target = "" if row.target is None else f", to be {row.sense} {row.target:.3g}"
    print(
        f"  {row.name}: {row.ours:.4g} against {row.reference:.4g} {row.unit}:"
        f" {row.ratio:.3g}{target}",
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service",
        description="Measure the service against bare references in the same run. Of what is"
        " measured again, the latest result counts.",
    )
    add = parser.add_argument
    add("--only", metavar="A,B,...", help=f"of {', '.join([*_EACH, *_ONCE])}; default: all")
    add(
        "--databases",
        default=",".join(KINDS),
        metavar="A,B",
        help=f"default: {','.join(KINDS)}; PostgreSQL is started for the run, from a wheel",
    )
    add("--quick", action="store_true", help="small sizes, for a look; takes a few minutes")
    add("--rows", type=int, metavar="N", help="of a large database, in place of the usual number")
    add(
        "--named",
        default="",
        metavar="TEXT",
        help="of lists and claims those with it in their name",
    )
    add("--events", type=int, metavar="N", help="of a ledger, in place of the usual number")
    add(
        "--out",
        type=Path,
        default=_OUT,
        metavar="FILE.jsonl",
        help=f"raw results; the page and the plot go beside it; default: {_OUT}",
    )
    add("--render-only", action="store_true", help="only write the page and the plot")
    return parser


if __name__ == "__main__":
    sys.exit(main())
