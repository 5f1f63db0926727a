"""A baseline's settings: the best of an equal number of trials by the calibrating half.

Tuned anew for each workload, scope and forget set, on the first seed: an advantage that the default
method, whose settings never change, does not get.
"""

import copy
import json

from benchmarks.unlearning.cases import Case
from benchmarks.unlearning.contestants import Trial
from engine.errors import EngineError
from engine.methods.selection import Selector
from engine.registry import load_method


def tune(case: Case, method: str, trials: list[Trial]) -> Trial:
    """The trial with the lowest score of `engine.methods.selection` on the case's first request.

    A trial that fails counts as the worst. Raises its `EngineError` where all of them fail.
    """
    folder = case.bench.cache / f"seed-{case.seed}" / "tuning"
    name = f"{case.scope}-{case.forget_set.name.replace(':', '-')}-{method}-{len(trials)}.json"
    if (folder / name).exists():
        kept: Trial = json.loads((folder / name).read_text(encoding="utf-8"))["settings"]
        return kept
    scored: list[tuple[float, int]] = []
    failure: EngineError | None = None
    for position, trial in enumerate(trials):
        try:
            scored.append((_score(case, method, trial), position))
        except EngineError as error:
            failure = error
    if not scored:
        assert failure is not None
        raise failure
    best = trials[min(scored)[1]]
    folder.mkdir(parents=True, exist_ok=True)
    tried = [{"settings": trials[position], "score": score} for score, position in scored]
    text = json.dumps({"method": method, "settings": best, "trials": tried}, indent=2)
    (folder / name).write_text(text + "\n", encoding="utf-8")
    return best


def _score(case: Case, method: str, trial: Trial) -> float:
    model = copy.deepcopy(case.original)
    selector = Selector(case.problem(0, model, {}))  # while it still is the original
    load_method(method)(case.problem(0, model, dict(trial)))
    return selector.look().score
