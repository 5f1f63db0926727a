"""What is to be run, in which order: the cases of each workload, and on each the methods."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.unlearning.bench import Bench
from benchmarks.unlearning.cases import Case, case_key, draw
from benchmarks.unlearning.checks import read_checks
from benchmarks.unlearning.controls import controls, false_failures
from benchmarks.unlearning.forget_sets import ForgetSet, NoForgetSet
from benchmarks.unlearning.rows import Row, Scope, append, read_rows
from benchmarks.unlearning.runs import run
from benchmarks.unlearning.step_cost import step_cost

Say = Callable[[str], None]
_FALSE_FAILURE_DRAWS = 100


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    benches: Sequence[Bench]
    methods: Sequence[str]
    scopes: Sequence[Scope]
    forget_sets: Sequence[ForgetSet]
    seeds: int
    budget: int
    """Tuning trials of each baseline."""
    out: Path
    again: bool


class OutOfTime(Exception):
    """The time allowed is over; what was finished is written, the run under way is dropped."""


class Deadline:
    """A pulse of work that raises `OutOfTime` once `minutes` have passed; None allows any time."""

    def __init__(self, minutes: float | None) -> None:
        """The clock starts now."""
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes

    def __call__(self, step: int, of: int) -> None:
        """Called as work goes on."""
        if time.monotonic() > self._end:
            raise OutOfTime


def carry_out(plan: Plan, say: Say) -> None:
    """Run what has no rows yet and append each run's rows as it ends; raises `OutOfTime`."""
    done = set() if plan.again else {row.key for row in read_rows(plan.out) if row.error is None}
    # All workloads advance together, so that a deadline leaves something of each.
    for seed, forget_set, scope, bench in product(
        range(plan.seeds), plan.forget_sets, plan.scopes, plan.benches
    ):
        missing = [
            method
            for method in plan.methods
            if case_key(bench, scope, forget_set, seed, method) not in done
        ]
        if missing:
            _case(plan, bench, scope, forget_set, seed, missing, say)


def carry_out_checks(plan: Plan, path: Path, say: Say) -> None:
    """Measure the controls, the false failures and the cost of a step; raises `OutOfTime`."""
    known = [] if plan.again else read_checks(path)
    for bench in plan.benches:
        here = [
            c for c in known if c.workload == bench.choice.label and c.options == bench.choice.shown
        ]
        done = {(c.check, getattr(c, "scope", None), getattr(c, "seed", None)) for c in here}
        for scope in plan.scopes:
            for seed in range(plan.seeds):
                if ("controls", scope, seed) not in done:
                    found = controls(bench, scope, seed)
                    append(path, [found])
                    say(
                        f"{bench.choice.label} {scope} seed {seed}: copy {found.copied},"
                        f" ruined {found.ruined}, retrained {found.retrained}"
                    )
            if ("step_cost", scope, None) not in done:
                cost = step_cost(bench, scope)
                append(path, [cost])
                say(
                    f"{bench.choice.label} {scope}: a step costs"
                    f" {cost.seconds / cost.plain_seconds:.2f} x a plain one"
                )
        if ("false_failures", None, None) not in done:
            failures = false_failures(bench, _FALSE_FAILURE_DRAWS)
            append(path, [failures])
            say(f"{bench.choice.label}: {failures.failed} of {failures.draws} strangers fail")


def _case(
    plan: Plan,
    bench: Bench,
    scope: Scope,
    forget_set: ForgetSet,
    seed: int,
    methods: Sequence[str],
    say: Say,
) -> None:
    where = f"{bench.choice.label} {scope} {forget_set.name} seed {seed}"
    try:
        case = draw(bench, scope, forget_set, seed)
    except NoForgetSet as error:
        say(f"{where}: left out: {error}")
        return
    first = partial(_first, case)
    for method in methods:
        rows = run(case, method, plan.budget, first)
        append(plan.out, rows)
        say(f"{where}: {method}: {_in_short(rows)}")


def _first(case: Case) -> Case:
    """The case of the first seed, on which baselines are tuned."""
    return case if case.seed == 0 else draw(case.bench, case.scope, case.forget_set, 0)


def _in_short(rows: Sequence[Row]) -> str:
    last = [row for row in rows if row.stop == "own"][-1]
    if last.error is not None or last.uis is None:
        return f"failed: {last.error}"
    kept = min(last.kept.values(), default=1.0)
    return f"UIS {last.uis:.1f}, retain {kept:.1%}, audit {last.verdict}, {last.seconds:.1f} s"
