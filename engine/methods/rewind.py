"""Going back to before the data came in, and training on from there without them.

"Rewind-to-Delete: Certified Machine Unlearning for Nonconvex Functions" (Mu and Klabjan, NeurIPS
2025, arXiv 2409.09778): take the weights of an earlier point of the training and descend the loss
of the retained data from there. The earlier point is here an ancestor that was never taught what is
to be forgotten, so nothing of it is in what is kept; the paper's certificate needs noise and a
bound on the gradients, which are not part of this. The descent is the owner's own recipe, ended
when held-out data stop gaining by it.
"""

import math
from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor

from engine import evaluation
from engine.checkpoint import load_weights
from engine.errors import InvalidSpec
from engine.methods.method_settings import MethodSettings
from engine.problem import Outcome, Problem
from engine.workload import Batch, InstanceSet


class RewindSettings(MethodSettings):
    """When the replay ends."""

    looks: int = Field(20, ge=1)
    """At the held-out data, spread over the recipe."""
    patience: int = Field(4, ge=1)
    """Looks in a row without a gain that end the replay before the recipe does."""


def unlearn(problem: Problem) -> Outcome:
    """Load the ancestor's weights, replay the retain cells, keep the best weights seen on the way.

    Best is the lowest loss on the calibrating half: the mean over tasks, each in units of the
    parent's. Raises `InvalidSpec` where there is no ancestor, `CheckpointError` for one that does
    not fit the network.
    """
    settings = RewindSettings.parse(problem.settings)
    if problem.ancestor is None:
        raise InvalidSpec(
            "rewind needs an ancestor that never saw what is to be forgotten, and this version has"
            " none: register an earlier checkpoint as its parent, or use the method 'retrain'"
        )
    replay = _Replay(problem, settings)
    load_weights(problem.model, problem.ancestor)
    counted = _Counted(problem.train)
    with torch.random.fork_rng():
        torch.manual_seed(problem.seed)
        try:
            problem.workload.train(
                problem.model,
                cast(InstanceSet, counted),
                problem.retain,
                problem.seed,
                replay.report,
            )
            ended_early = False
        except _Enough:
            ended_early = True
    # Looks pass held-out instances only, so what was drawn from `counted` was for a gradient.
    replay.restore_best()
    return Outcome(
        settings={
            **settings.model_dump(),
            "ended_early": ended_early,
            "share_of_recipe": replay.best_at,
            "calibration_score": replay.best,
        },
        gradient_evaluations=counted.drawn,
    )


class _Enough(Exception):
    """Leaves the owner's recipe from within its report of progress, the only way out of it."""


class _Replay:
    """Listens to the recipe, looks at the held-out data now and then, and says when to stop."""

    def __init__(self, problem: Problem, settings: RewindSettings) -> None:
        """Measure the parent; `problem.model` must still have its weights."""
        self._problem = problem
        self._settings = settings
        self._unit = self._held_out()
        self._looked_at = 0.0
        self._without_gain = 0
        self._state: dict[str, Tensor] = {}
        self.best = math.inf
        self.best_at = 0.0
        """How much of the recipe lies before the best look, from 0 to 1."""

    def report(self, step: int, of: int) -> None:
        """Take the recipe's progress; raises `_Enough` when nothing more is to be gained."""
        self._problem.progress(step, of)
        done = step / of if of else 0.0
        # Rounding must not skip the look at the recipe's end.
        if done - self._looked_at < 1 / self._settings.looks - 1e-9 and step != of:
            return
        self._looked_at = done
        score = self._score()
        if score < self.best:
            self.best, self.best_at, self._without_gain = score, done, 0
            state = self._problem.model.state_dict()
            self._state = {name: value.detach().clone() for name, value in state.items()}
        else:
            self._without_gain += 1
        if self._without_gain == self._settings.patience:
            raise _Enough

    def restore_best(self) -> None:
        """Put the best weights seen into the model; as they are where nothing was ever looked at.

        A recipe that reports nothing is replayed to its end.
        """
        if self._state:
            self._problem.model.load_state_dict(self._state)
        self._problem.model.eval()

    def _score(self) -> float:
        training = self._problem.model.training
        score = float((self._held_out() / self._unit).mean())
        self._problem.model.train(training)
        return score

    def _held_out(self) -> Tensor:
        """The mean held-out loss of each task that has one, [at most T]."""
        problem = self._problem
        cells = problem.calibration.supervision
        found = evaluation.losses(
            problem.workload, problem.model, problem.calibration, cells, problem.device
        )
        return found[:, cells.any(0)].nanmean(0).clamp(min=1e-12)


class _Counted:
    """The training instances as they are, counting what is drawn from them."""

    def __init__(self, instances: InstanceSet) -> None:
        self._instances = instances
        self.drawn = 0

    def __getattr__(self, name: str) -> Any:
        """Whatever else the owner's recipe knows of its instances."""
        return getattr(self._instances, name)

    def __len__(self) -> int:
        return len(self._instances)

    def batch(self, indices: Tensor) -> Batch:
        """The instances at these positions."""
        self.drawn += len(indices)
        return self._instances.batch(indices)
