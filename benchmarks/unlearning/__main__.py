"""`python -m benchmarks.unlearning`: run, append to the raw results, render tables and plots."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from pydantic import JsonValue

from benchmarks.unlearning import forget_sets
from benchmarks.unlearning.bench import Choice, data_folder, set_up
from benchmarks.unlearning.checks import checks_file, read_checks
from benchmarks.unlearning.contestants import OURS, everyone, resolve
from benchmarks.unlearning.plan import Deadline, OutOfTime, Plan, carry_out, carry_out_checks
from benchmarks.unlearning.plots import draw
from benchmarks.unlearning.rows import Scope, read_rows
from benchmarks.unlearning.tables import render
from engine.errors import EngineError

_OUT = Path("docs/benchmarks/unlearning.jsonl")
_CACHE = Path(".expunge/benchmarks")

_QUICK_MINUTES = 4.5
"""Less than five: the tables and plots are still to be drawn."""
_QUICK_WORKLOADS = (
    Choice("digits", "digits", {"epochs": 60}),
    Choice("scenes", "scenes", {"size": 100, "resolution": 16, "epochs": 60}),
)
_QUICK_FORGET_SETS = "random:0.1,random:0.05"
_QUICK_METHODS = (
    "original", "retrain", OURS, "neggrad_plus", "finetune",
)  # fmt: skip
_QUICK_TRIALS = 2
_TRIALS = 6
_SEEDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 with one sentence for what cannot be done."""
    given = _parser().parse_args(arguments)
    try:
        if not given.render_only:
            _measure(given)
        _render(given.out)
    except (EngineError, ValueError, OSError) as error:
        print(f"benchmarks.unlearning: {error}", file=sys.stderr)
        return 2
    return 0


def _measure(given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    minutes = given.minutes or (_QUICK_MINUTES if given.quick else None)
    deadline = Deadline(minutes)
    methods = (
        given.methods.split(",")
        if given.methods
        else list(_QUICK_METHODS if given.quick else everyone())
    )
    for method in methods:
        resolve(method)
    names = given.forget_sets or (_QUICK_FORGET_SETS if given.quick else forget_sets.DEFAULT)
    device = torch.device(given.device)
    plan = Plan(
        benches=[set_up(choice, device, given.cache, deadline) for choice in _choices(given)],
        methods=methods,
        scopes=_scopes(given.scopes),
        forget_sets=[forget_sets.parse(name) for name in names.split(",")],
        seeds=given.seeds or (1 if given.quick else _SEEDS),
        budget=given.trials or (_QUICK_TRIALS if given.quick else _TRIALS),
        out=given.out,
        again=given.again,
    )
    try:
        if given.controls:
            carry_out_checks(plan, checks_file(given.out), _say)
        carry_out(plan, _say)
    except OutOfTime:
        _say(f"{minutes:g} minutes are over; the same command goes on from here")


def _render(out: Path) -> None:
    rows, checks = read_rows(out), read_checks(checks_file(out))
    plots = draw(rows, out.parent)
    page = out.with_suffix(".md")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(rows, checks, out.name, plots), encoding="utf-8")
    _say(f"{len(rows)} rows rendered into {page}")


def _choices(given: argparse.Namespace) -> list[Choice]:
    options = _options(given.options)
    chosen = [Choice(name, name, options) for name in given.workload or []]
    chosen += [data_folder(folder, options) for folder in given.data or []]
    if chosen:
        return chosen
    return list(_QUICK_WORKLOADS) if given.quick else [Choice("scenes", "scenes", options)]


def _scopes(text: str) -> list[Scope]:
    scopes = text.split(",")
    for scope in scopes:
        if scope not in ("full", "partial"):
            raise ValueError(f"scope {scope!r} is neither full nor partial")
    return cast(list[Scope], scopes)


def _options(text: str) -> dict[str, JsonValue]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--options is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("--options must be a JSON object")
    return found


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.unlearning",
        description="Compare unlearning methods on equal terms. What the results file already has"
        " is not run again, so an interrupted benchmark goes on where it was.",
    )
    add = parser.add_argument
    add("--workload", action="append", metavar="NAME", help="an installed one; may be repeated")
    add(
        "--data",
        action="append",
        type=Path,
        metavar="FOLDER",
        help="a folder in the arrays format; may be repeated (default: the workload scenes)",
    )
    add("--options", default="{}", metavar="JSON", help="of the workloads and data folders given")
    add("--quick", action="store_true", help="a small selection that ends within five minutes")
    add("--methods", metavar="A,B,...", help="default: references, ours, ablations, all baselines")
    add("--scopes", default="full,partial", metavar="A,B", help="default: full,partial")
    add(
        "--forget-sets",
        metavar="A,B,...",
        help=f"of the forms {forget_sets.FORMS}; default: {forget_sets.DEFAULT}",
    )
    add("--seeds", type=int, metavar="N", help=f"default: {_SEEDS}")
    add("--trials", type=int, metavar="N", help=f"tuning of each baseline; default: {_TRIALS}")
    add("--controls", action="store_true", help="also the audit's controls and a step's cost")
    add(
        "--minutes",
        type=float,
        metavar="N",
        help="stop after that long, and drop the run under way",
    )
    add("--device", default="cpu", help="default: cpu")
    add("--threads", type=int, default=torch.get_num_threads(), metavar="N", help="of torch")
    add(
        "--out",
        type=Path,
        default=_OUT,
        metavar="FILE.jsonl",
        help=f"raw results; tables and plots go beside it; default: {_OUT}",
    )
    add(
        "--cache",
        type=Path,
        default=_CACHE,
        metavar="FOLDER",
        help="trained originals and references; remove it when a workload's code changes;"
        f" default: {_CACHE}",
    )
    add("--again", action="store_true", help="run what has rows already, too")
    add("--render-only", action="store_true", help="only write tables and plots from the rows")
    return parser


if __name__ == "__main__":
    sys.exit(main())
