"""The results as drawings (SVG): a file a workload and kind."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.unlearning.contestants import KNOWN, OURS
from benchmarks.unlearning.rows import Row
from benchmarks.unlearning.summary import Answer, Field, fields, spread


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write the drawings that the rows allow; their files."""
    folder.mkdir(parents=True, exist_ok=True)
    found = fields(rows)
    files = []
    # Text as text, and ids from a fixed salt: the same rows give the same bytes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "expunge", "font.size": 9}):
        for name, chosen, in_a_row in _by_workload(found, rows):
            single = [f for f in chosen if not f.question.forget_set.startswith("sequence")]
            for kind, fill in _PANELS.items():
                if single:
                    files.append(_save(_panels(single, fill), folder, f"{name}-{kind}"))
            if in_a_row:
                files.append(_save(_drift(in_a_row), folder, f"{name}-requests-in-a-row"))
    return files


def _by_workload(
    found: Sequence[Field], rows: Sequence[Row]
) -> list[tuple[str, list[Field], list[Row]]]:
    """A name for files, the questions, and the rows of sequences, of each workload and options."""
    parts = []
    seen: dict[str, int] = {}
    for workload, options in dict.fromkeys(
        (f.question.workload, f.question.options) for f in found
    ):
        seen[workload] = seen.get(workload, 0) + 1
        name = workload if seen[workload] == 1 else f"{workload}-{seen[workload]}"
        own = [f for f in found if (f.question.workload, f.question.options) == (workload, options)]
        in_a_row = [
            row
            for row in rows
            if row.workload == workload
            and json.dumps(row.options, sort_keys=True) == options
            and row.request is not None
            and row.error is None
        ]
        parts.append((name, own, in_a_row))
    return parts


def _panels(found: Sequence[Field], fill: Callable[[Axes, Field], None]) -> Figure:
    """One panel a question, two in a line, one legend for all."""
    lines = (len(found) + 1) // 2
    figure = Figure(figsize=(9, 3.2 * lines + 0.8), layout="constrained")
    axes = figure.subplots(lines, 2, squeeze=False)
    for position, field in enumerate(found):
        axis = axes[position // 2][position % 2]
        fill(axis, field)
        axis.set_title(f"{field.question.scope}, {field.question.forget_set}")
        axis.grid(alpha=0.3)
    for position in range(len(found), 2 * lines):
        axes[position // 2][position % 2].axis("off")
    known: dict[str, Artist] = {}
    for line in axes.flat:
        handles, labels = line.get_legend_handles_labels()
        known.update(zip(labels, handles, strict=True))
    figure.legend(
        list(known.values()), list(known), loc="outside lower center", ncols=4, fontsize=7
    )
    return figure


def _uis_against_cost(axis: Axes, field: Field) -> None:
    for answer, style in _styled(field):
        cost = answer.over(lambda row: row.share_of_retraining)
        if cost is not None and answer.uis is not None:
            axis.errorbar(
                cost.mean, answer.uis.mean, yerr=answer.uis.sd, label=answer.method, **style
            )
    axis.set_xlabel("time, as a share of retraining's")
    axis.set_ylabel("UIS x 100 on test")
    axis.set_ylim(bottom=0)


def _retain_against_forget(axis: Axes, field: Field) -> None:
    axis.axvspan(-0.05, 0.05, alpha=0.1)
    axis.axhline(0.99, linewidth=0.8, linestyle=":")
    for answer, style in _styled(field):
        kept, told = answer.kept, answer.over(_furthest_auc)
        if kept is not None and told is not None:
            axis.errorbar(
                told.mean, kept.mean, xerr=told.sd, yerr=kept.sd, label=answer.method, **style
            )
    axis.set_xlabel("membership AUC - .5, the furthest task's")
    axis.set_ylabel("share of retain metric kept")


def _furthest_auc(row: Row) -> float | None:
    return max((value - 0.5 for _, value, _ in row.auc.values()), key=abs, default=None)


_PANELS = {
    "uis-against-cost": _uis_against_cost,
    "retain-against-forget": _retain_against_forget,
}


def _drift(rows: Sequence[Row]) -> Figure:
    """UIS and retain quality after each request in a row."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    lines = dict.fromkeys((row.method, row.scope) for row in rows)
    values: Sequence[tuple[Axes, Callable[[Row], float | None], str]] = (
        (left, lambda row: row.uis, "UIS x 100 on test, all requests so far"),
        (right, lambda row: min(row.kept.values(), default=None), "share of retain metric kept"),
    )
    for method, scope in lines:
        own = [row for row in rows if (row.method, row.scope) == (method, scope)]
        requests = sorted({row.request for row in own if row.request})
        for axis, value, _ in values:
            means = [spread(value(row) for row in own if row.request == r) for r in requests]
            axis.plot(
                requests,
                [mean.mean if mean else float("nan") for mean in means],
                marker=".",
                linewidth=2.5 if method == OURS else 1,
                linestyle="-" if scope == "full" else "--",
                label=f"{method}, {scope}",
            )
    for axis, _, label in values:
        axis.set_xlabel("requests in a row")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _styled(field: Field) -> list[tuple[Answer, dict[str, Any]]]:
    """Each answer with its marker: ours stands out, its ablations are hollow."""
    styled = []
    for answer in field.answers.values():
        if not answer.rows:
            continue
        position = KNOWN.index(answer.method) if answer.method in KNOWN else len(KNOWN)
        ours, ablation = answer.method == OURS, answer.method.startswith(f"{OURS}[")
        style: dict[str, Any] = {
            "marker": "*" if ours else "osD^vP"[position % 6],
            "markersize": 12 if ours else 6,
            "color": "black" if ours else f"C{position % 10}",
            "linestyle": "none",
            "capsize": 2,
        }
        if ablation:
            style["markerfacecolor"] = "none"
        styled.append((answer, style))
    return styled


def _save(figure: Figure, folder: Path, name: str) -> Path:
    path = folder / f"{name}.svg"
    figure.savefig(path, format="svg", metadata={"Date": None})
    return path
