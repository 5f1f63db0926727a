"""The results as a page and a drawing; both follow from the rows alone."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.service.rows import SECTIONS, Row

_INTRODUCTION = """# Benchmark of the service

Written by `python -m benchmarks.service` from the raw results in `{raw}`; nothing here is typed
by hand.

Both sides of a ratio are measured in the same run on the same machine, in turns, so that what else
the machine does meets both. *Ours* and *reference* are medians over the turns, or where a row says
so the quickest of many; the *ratio* is the median of the turns' ratios. Times of other machines
differ, ratios less so.
"""


def write(rows: Sequence[Row], raw: Path) -> Path:
    """Write the page and the drawing beside the raw results; the page's file."""
    drawing = raw.with_suffix(".svg")
    parts = [_INTRODUCTION.format(raw=raw.name)]
    if any(row.ratio is not None and row.target is not None for row in rows):
        _draw(rows, drawing)
        parts.append(f"![Each ratio as a share of its target]({drawing.name})\n")
    for section, title in SECTIONS.items():
        found = [row for row in rows if row.section == section]
        if found:
            parts.append(f"## {title}\n\n{_table(found)}")
    page = raw.with_suffix(".md")
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def _table(rows: Sequence[Row]) -> str:
    header = ["What", "Ours", "Reference", "Ratio", "Target", "Met", "Note"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        met = {True: "yes", False: "no", None: "-"}[row.met]
        target = "-" if row.target is None else f"{row.sense} {row.target:.3g}"
        ratio = "not measured" if row.ratio is None else f"{row.ratio:.3g}"
        lines.append(
            [
                row.name,
                _quantity(row.ours, row.unit),
                _quantity(row.reference, row.unit),
                ratio,
                target,
                met,
                row.note,
            ]
        )
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def _quantity(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def _draw(rows: Sequence[Row], file: Path) -> None:
    """How far each ratio is on the good side of its target: beyond 1 it is met."""
    drawn = [row for row in rows if row.ratio and row.target]
    shares = []
    for row in drawn:
        assert row.ratio is not None
        assert row.target is not None
        share = row.ratio / row.target
        shares.append(share if row.sense == "at least" else 1 / share)
    # Text as text, and ids from a fixed salt: the same rows give the same bytes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "expunge", "font.size": 9}):
        figure = Figure(figsize=(9, 0.24 * len(drawn) + 1), layout="constrained")
        axis = figure.subplots()
        colours = ["tab:green" if row.met else "tab:red" for row in drawn]
        axis.barh([row.name for row in drawn], shares, color=colours)
        axis.axvline(1, color="black", linewidth=1)
        axis.set_xscale("log")
        axis.invert_yaxis()
        axis.set_xlabel("of the target; at 1 or more it is met")
        figure.savefig(file, metadata={"Date": None})
