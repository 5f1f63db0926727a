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
differ, ratios less so. Where other work keeps the processors busy, the wall's clock tells more of
that than of the service, and of its longer requests more than of the reference's short ones; the
rows of processor time tell what each side works.
"""

_ABOUT = {
    "post": """\
What a POST does that the bare INSERT does not, all in one transaction: it looks up the caller's key
and the Idempotency-Key, the model with its version in service, the instances, legal holds, the
queued job and earlier jobs to estimate from; writes the request, what it names, its place in the
job and what the job now comes to; tells the tenant's ledger of two changes, chained, and seals
every column that it wrote; and keeps the answer for a repetition. With its beginning and its end
these are 18 statements on SQLite and 19 on PostgreSQL, against 3. All are compiled once and given
to the driver as they are; PostgreSQL is not waited for while they write. Requests of a tenant that
wait at the same moment share the transaction, the look at the ledger's head and the seal.
""",
    "pieces": """\
By themselves: so many times each of them is what no other order of the same work can go below. A
commit costs by the pages that it writes: those of eight tables and their indexes, against one
table's.
""",
}


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
            about = f"{_ABOUT[section]}\n" if section in _ABOUT else ""
            parts.append(f"## {title}\n\n{about}{_table(found)}")
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
