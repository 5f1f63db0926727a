"""The default method: forget towards a calibrated target, harm nobody, repair in every step.

After "Interference-Aware Multi-Task Unlearning" (arXiv 2605.19042), with its two ideas recast.
Each forgotten cell has a loss to reach, taken from held-out data, and is pushed towards it from
both sides (`constraints`). The forget direction is made harmless to the losses of retain data by a
projection on the cone of their gradients (`engine.projection`). Every step also descends the retain
loss, and is taken in the metric of the retained inputs (`engine.retained_inputs`): where the retain
data hardly reach a layer it moves freely, elsewhere little. Looks at the calibrating half of the
held-out data choose the weights and say when to stop (`selection`).
"""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue
from torch import Tensor

from engine.errors import Diverged
from engine.gradients import assign, flatten
from engine.methods.constraints import Constraints
from engine.methods.direction import Direction
from engine.methods.normalisation import re_estimate
from engine.methods.relative_momentum import RelativeMomentum
from engine.methods.repair import Repair
from engine.methods.rounded_change import round_change
from engine.methods.selection import Candidate, Look, Selector
from engine.methods.settings import Settings
from engine.problem import Outcome, Problem
from engine.saved_state import Snapshot

_MAX_ROLLBACKS = 6
_UNHARMED = 0.99
"""Share of its quality with which the retain probe allows longer steps again."""
_RECOVERY = 1.3
_CEILING_RATE = 1.3
"""By which the weight of forgetting gives way at a look where repair at its most is not enough."""


def unlearn(problem: Problem) -> Outcome:
    """Change `problem.model` so that its forget cells look unseen.

    Goes on from `problem.saved_state` where an earlier attempt left something. Raises `InvalidSpec`
    for unknown settings or where nothing can calibrate, `Diverged` where losses stay non-finite or
    the retain data cannot be kept.
    """
    settings = Settings.parse(problem.settings)
    retained = problem.retain.any(1).nonzero().squeeze(1)
    problem.model.eval()
    had_statistics = re_estimate(problem.model, problem.train, retained, problem.device)
    run = _Run(problem, settings)
    notes = run.go()
    if settings.change_bits is not None:
        round_change(run.weights, run.parent, settings.change_bits)
    if had_statistics:
        re_estimate(problem.model, problem.train, retained, problem.device)
        notes.append("BatchNorm statistics were re-estimated on retain data.")
    return Outcome(
        settings={**settings.model_dump(), **run.derived()},
        gradient_evaluations=run.direction.evaluations,
        notes=tuple(notes),
    )


class _Run:
    """One job's state: what changes from step to step."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        self.problem = problem
        self.settings = settings
        self.selector = Selector(problem)
        self.constraints = Constraints.of(problem, self.selector.held_out_losses)
        self.direction = Direction(problem, settings, self.constraints)
        self.weights = self.direction.weights
        forgetting = int(problem.forget.any(1).sum())
        self.steps = max(settings.min_steps, round(settings.steps_per_instance * forgetting))
        self.rate = settings.learning_rate
        self.rollbacks = 0
        self.repair = Repair(settings.repair, settings.repair)
        self.round = 0
        self.step = 0
        self.optimizer = RelativeMomentum(self.weights)
        self.parent = self.safe = flatten(self.weights)
        """[D] each: where the job began, and the last weights that a look found sound."""
        self.best = Candidate(math.inf, met=False, harmless=False, intact=False, weights=self.safe)
        """Of the rounds before; at first the parent, which is never good enough: it was asked to
        forget, however much its forgotten cells look like strangers already."""
        self.chosen: Candidate | None = None
        """Of this round."""

    def derived(self) -> dict[str, JsonValue]:
        """What the model's own statistics made of the settings."""
        names = list(self.problem.workload.tasks)
        return {
            "steps_a_round": self.steps,
            "rounds_taken": self.round + 1,
            "rollbacks": self.rollbacks,
            "final_learning_rate": self.rate,
            "final_repair": self.repair.now,
            "multipliers": dict(zip(names, self.constraints.multipliers, strict=True)),
            "held_out_loss": dict(zip(names, self.constraints.scales.tolist(), strict=True)),
            "resumed_at_step": self.problem.saved_state.resumed_at,
        }

    def go(self) -> list[str]:
        """Take rounds until the bar is met, and leave the best weights in the model."""
        self._resume()
        while True:
            self._take_round()
            assign(self.weights, self.best.weights)
            last = self.round + 1 == self.settings.rounds
            if last or self.best.met or self.rollbacks > _MAX_ROLLBACKS:
                break
            self.round, self.step, self.chosen = self.round + 1, 0, None
            self.safe = self.best.weights
            self.optimizer = RelativeMomentum(self.weights)
        total = self.settings.rounds * self.steps
        self.problem.progress(total, total)
        if self.best.met:
            return []
        return [f"The calibrating half's bar was not met in {self.round + 1} rounds."]

    def _take_round(self) -> None:
        """One schedule of steps from the weights as they are; sets `best`."""
        group, saved = self.problem.group, self.problem.saved_state
        while self.step < self.steps and not (self.chosen and self.chosen.met):
            sound = self._move()
            self.step += 1
            done = self.round * self.steps + self.step
            self.problem.progress(done, self.settings.rounds * self.steps)
            if sound and self.step % self.settings.check_every and self.step < self.steps:
                continue
            look = group.agreed(self._look) if sound else None
            weights = flatten(self.weights)
            if look is not None:
                self._consider(look, weights)
            if look is not None and look.intact:
                self._accept(look, weights)
            else:
                self._roll_back(finite=look is not None)
                if self.rollbacks > _MAX_ROLLBACKS:
                    break
            if group.rank == 0 and saved.is_due(done):
                saved.save(self._snapshot(done))
        chosen = self.chosen
        if chosen is not None and (chosen.met or chosen.beats(self.best)):
            self.best = chosen

    def _move(self) -> bool:
        """Take one step; False where a loss is not finite."""
        decay = 0.525 + 0.475 * math.cos(math.pi * self.step / self.steps)  # from 1 to a twentieth
        try:
            self.optimizer.step(self.direction(self.repair).neg_(), self.rate * decay)
        except Diverged:
            return False
        return True

    def _look(self) -> Look | None:
        try:
            return self.selector.look()
        except Diverged:
            return None

    def _accept(self, look: Look, weights: Tensor) -> None:
        """Go on from the weights [D] that were looked at."""
        self.safe = weights
        spent = self.repair.adapt(look.probe_kept, look.probe_losses, self.selector.probe_losses)
        # To do no harm comes before to forget.
        self.constraints.limit(1 / _CEILING_RATE if spent else _CEILING_RATE)
        self.constraints.aim(look.held_out_losses, look.forgotten_losses)
        if look.probe_kept >= _UNHARMED:
            self.rate = min(_RECOVERY * self.rate, self.settings.learning_rate)

    def _consider(self, look: Look, weights: Tensor) -> None:
        """Weights [D] are a candidate late in a round, and the last resort where they harm."""
        late = 2 * self.step >= self.steps
        if late or not look.intact:
            candidate = Candidate.seen(look, weights)
            if self.chosen is None or candidate.beats(self.chosen):
                self.chosen = candidate

    def _roll_back(self, *, finite: bool) -> None:
        """Back to the last sound weights, with half the step and twice the repair from here on."""
        self.rollbacks += 1
        if self.rollbacks > _MAX_ROLLBACKS and not finite:
            raise Diverged(
                f"a loss became NaN or infinite again and again, down to a learning rate of"
                f" {self.rate:.1e}"
            )
        self.rate /= 2
        self.repair.redouble()
        self.direction.forget_rows()
        assign(self.weights, self.safe)
        self.optimizer = RelativeMomentum(self.weights)

    def _snapshot(self, done: int) -> Snapshot:
        """All that the next steps depend on, after so many."""
        candidates = {"best": self.best, "chosen": self.chosen}
        known = {name: c for name, c in candidates.items() if c is not None}
        return Snapshot(
            {
                "weights": flatten(self.weights),
                "safe": self.safe,
                "generator": self.problem.generator.get_state(),
                "scales": self.constraints.scales,
                **{name: candidate.weights for name, candidate in known.items()},
                **self.optimizer.tensors(),
                **self.direction.tensors(),
            },
            {
                "steps": done,
                "round": self.round,
                "step": self.step,
                "rate": self.rate,
                "repair": [self.repair.weight, self.repair.fade],
                "rollbacks": self.rollbacks,
                "multipliers": list(self.constraints.multipliers),
                "ceiling": self.constraints.ceiling,
                "optimizer_steps": self.optimizer.steps,
                "evaluations": self.direction.evaluations,
                "next_row": self.direction.next_row,
                "candidates": {
                    name: [c.score, c.met, c.harmless, c.intact] for name, c in known.items()
                },
            },
        )

    def _resume(self) -> None:
        """Go on where an earlier attempt left off, if it left anything."""
        snapshot = self.problem.saved_state.load()
        if snapshot is None:
            return
        device = self.problem.device
        tensors = {name: tensor.to(device) for name, tensor in snapshot.tensors.items()}
        values: Mapping[str, Any] = snapshot.values
        assign(self.weights, tensors["weights"])
        self.safe = tensors["safe"]
        found = {
            name: Candidate(score, met, harmless, intact, tensors[name])
            for name, (score, met, harmless, intact) in values["candidates"].items()
        }
        self.best, self.chosen = found["best"], found.get("chosen")
        self.round, self.step, self.rate = values["round"], values["step"], values["rate"]
        self.repair.weight, self.repair.fade = values["repair"]
        self.rollbacks, self.constraints.ceiling = values["rollbacks"], values["ceiling"]
        self.constraints.multipliers[:] = values["multipliers"]
        self.constraints.scales.copy_(snapshot.tensors["scales"])
        self.optimizer.restore(tensors, values["optimizer_steps"])
        self.direction.restore(snapshot.tensors, values["evaluations"], values["next_row"])
        self.problem.generator.set_state(snapshot.tensors["generator"])
