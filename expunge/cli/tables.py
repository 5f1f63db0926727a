"""The audit as a table."""

from collections.abc import Sequence

from rich.table import Table

from expunge.answers import AucChange, CellAudit, Change
from expunge.cli.output import STATE_STYLES


def audit_table(cells: Sequence[CellAudit], title: str) -> Table:
    """A row a task: its metric on forget, retain and validation data, the AUC, the verdict."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in ("task", "metric", "forget", "retain", "validation", "membership AUC"):
        table.add_column(column)
    table.add_column("verdict")
    for cell in cells:
        style = STATE_STYLES.get(cell.verdict, "")
        table.add_row(
            cell.task + ("" if cell.target else " (kept)"),
            cell.metric,
            _change(cell.forget),
            _change(cell.retain),
            _change(cell.validation),
            _auc(cell.auc),
            f"[{style}]{cell.verdict}[/]" if style else cell.verdict,
        )
    return table


def _change(change: Change | None) -> str:
    if change is None:
        return "-"
    return f"{change.before:.3g} -> {change.after:.3g}"


def _auc(auc: AucChange | None) -> str:
    if auc is None:
        return "-"
    after = auc.after
    return f"{auc.before.value:.2f} -> {after.value:.2f} \\[{after.low:.2f}, {after.high:.2f}]"
