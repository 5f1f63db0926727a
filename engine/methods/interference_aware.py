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
from dataclasses import dataclass

import torch
from pydantic import JsonValue
from torch import Tensor

from engine import evaluation
from engine.errors import Diverged
from engine.gradients import flat_gradient, flatten, specific_weights, trainable
from engine.methods.batches import Sampler
from engine.methods.constraints import Constraints
from engine.methods.normalisation import re_estimate
from engine.methods.relative_momentum import RelativeMomentum
from engine.methods.selection import Look, Selector
from engine.methods.settings import Settings
from engine.problem import Outcome, Problem
from engine.projection import complement, cone
from engine.retained_inputs import RetainedInputs

_MASK_BATCH = 16
_MASK_BATCHES = 24
_MAX_ROLLBACKS = 6
_PROBE_BAR = 0.98
"""Of its quality the retain probe may lose so much before repair gains weight."""
_REPAIR_RATE = 1.3
_REPAIR_RANGE = 16.0


def unlearn(problem: Problem) -> Outcome:
    """Change `problem.model` so that its forget cells look unseen.

    Raises `InvalidSpec` for unknown settings or where nothing can calibrate, `Diverged` where
    losses stay non-finite or the retain data cannot be kept.
    """
    settings = Settings.parse(problem.settings)
    retained = problem.retain.any(1).nonzero().squeeze(1)
    problem.model.eval()
    had_statistics = re_estimate(problem.model, problem.train, retained, problem.device)
    run = _Run(problem, settings, retained)
    notes = run.go()
    if had_statistics:
        re_estimate(problem.model, problem.train, retained, problem.device)
        notes.append("BatchNorm statistics were re-estimated on retain data.")
    return Outcome(
        settings={**settings.model_dump(), **run.derived()},
        gradient_evaluations=run.evaluations,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Best:
    look: Look
    weights: list[Tensor]


class _Run:
    """One job's state: what changes from step to step."""

    def __init__(self, problem: Problem, settings: Settings, retained: Tensor) -> None:
        self.problem = problem
        self.settings = settings
        self.weights = trainable(problem.model)
        self.selector = Selector(problem)
        self.constraints = Constraints.of(problem, self.selector.held_out_losses)
        forgetting = problem.forget.any(1).nonzero().squeeze(1)
        earlier = problem.earlier.any(1).nonzero().squeeze(1)
        self.forget_batches = [
            Sampler(rows, settings.forget_batch, problem.generator)
            for rows in (forgetting, earlier)
            if len(rows)
        ]
        self.retain_batches = Sampler(retained, settings.retain_batch, problem.generator)
        self.rows = torch.zeros(
            settings.row_chunks * settings.row_memory, sum(w.numel() for w in self.weights)
        ).to(problem.device)
        self.next_row = 0
        self.steps = max(settings.min_steps, round(settings.steps_per_instance * len(forgetting)))
        self.rate = settings.learning_rate
        self.evaluations = 0
        self.rollbacks = 0
        self.repair = settings.repair
        self.rounds = 0
        self.mask = self._mask(forgetting, retained)
        self.metric = self._metric(retained)

    def derived(self) -> dict[str, JsonValue]:
        """What the model's own statistics made of the settings."""
        names = list(self.problem.workload.tasks)
        return {
            "steps_a_round": self.steps,
            "rounds_taken": self.rounds,
            "rollbacks": self.rollbacks,
            "final_learning_rate": self.rate,
            "final_repair": self.repair,
            "multipliers": dict(zip(names, self.constraints.multipliers, strict=True)),
            "held_out_loss": dict(zip(names, self.constraints.scales.tolist(), strict=True)),
        }

    def go(self) -> list[str]:
        """Take rounds until the bar is met, and leave the best weights in the model."""
        best = _Best(self.selector.look(), self._copy())
        for number in range(self.settings.rounds):
            self.rounds = number + 1
            best = self._round(number, best)
            self._restore(best.weights)
            if best.look.met or self.rollbacks > _MAX_ROLLBACKS:
                break
        total = self.settings.rounds * self.steps
        self.problem.progress(total, total)
        if best.look.met:
            return []
        return [f"The calibrating half's bar was not met in {self.rounds} rounds."]

    def _round(self, number: int, best: _Best) -> _Best:
        """One schedule of steps from the weights as they are; the best candidate so far."""
        settings = self.settings
        optimizer = RelativeMomentum(self.weights)
        safe = self._copy()
        chosen: _Best | None = None
        for step in range(self.steps):
            decay = 0.525 + 0.475 * math.cos(math.pi * step / self.steps)  # from 1 to a twentieth
            try:
                optimizer.step(-self._direction(), self.rate * decay)
                if (step + 1) % settings.check_every and step + 1 < self.steps:
                    continue
                look = self.selector.look()
            except Diverged:
                look = None
            self.problem.progress(number * self.steps + step + 1, settings.rounds * self.steps)
            if look is None or not look.intact:
                self._roll_back(safe, finite=look is not None)
                if self.rollbacks > _MAX_ROLLBACKS:
                    break
                optimizer = RelativeMomentum(self.weights)
                continue
            safe = self._copy()
            self._balance(look)
            self.constraints.aim(look.held_out_losses, look.forgotten_losses)
            if 2 * (step + 1) >= self.steps and (chosen is None or look.score < chosen.look.score):
                chosen = _Best(look, safe)
                if look.met:
                    break
        if chosen is None or (best.look.score <= chosen.look.score and not chosen.look.met):
            return best
        return chosen

    def _direction(self) -> Tensor:
        """Where to move the weights, [D]: forget, harmlessly, and repair."""
        problem, settings = self.problem, self.settings
        forget = kept = torch.zeros((), device=problem.device)
        for sampler in self.forget_batches:
            indices = sampler.draw()
            outputs, batch = evaluation.forward(
                problem.model, problem.train, indices, problem.device
            )
            cells = self.constraints.forgotten[indices] | self.constraints.kept[indices]
            losses = evaluation.cell_losses(problem.workload, outputs, batch, cells)
            forget = forget + self.constraints.forget_loss(indices, losses)
            kept = kept + self.constraints.kept_loss(indices, losses)
            self.constraints.adapt(indices, losses)
            self.evaluations += len(indices)
        partial = bool(self.constraints.kept.any())
        towards = flat_gradient(forget, self.weights, keep=partial)
        mend = self.repair * self._retain_gradient()
        if partial:
            mend = mend + settings.self_retain * flat_gradient(kept, self.weights)
        if settings.projection == "cone":
            towards = cone(towards, self.rows)
        elif settings.projection == "complement":
            towards = complement(towards, self.rows)
        move = towards - mend
        return self.mask * (self.metric(move) if self.metric else move)

    def _retain_gradient(self) -> Tensor:
        """The gradient of the retain loss on a mini-batch, [D]; its chunks are kept as rows."""
        chunks = self.retain_batches.draw().chunk(self.settings.row_chunks)
        total = torch.zeros_like(self.mask)
        for chunk in chunks:
            gradient = self._gradient(chunk, self.problem.retain[chunk])
            self.rows[self.next_row] = gradient
            self.next_row = (self.next_row + 1) % len(self.rows)
            total += gradient
        return total / len(chunks)

    def _gradient(self, indices: Tensor, cells: Tensor) -> Tensor:
        """The gradient of the mean loss of a batch's cells, summed over tasks, [D]."""
        problem = self.problem
        outputs, batch = evaluation.forward(problem.model, problem.train, indices, problem.device)
        losses = evaluation.cell_losses(problem.workload, outputs, batch, cells)
        self.evaluations += len(indices)
        return flat_gradient(evaluation.task_mean(losses, cells.to(problem.device)), self.weights)

    def _mask(self, forgetting: Tensor, retained: Tensor) -> Tensor:
        """1 for the weights that may change, else 0; [D]."""
        if self.settings.mask_share == 1:
            return torch.ones_like(flatten(self.weights))
        squares = []
        for rows, cells in ((forgetting, self.problem.forget), (retained, self.problem.retain)):
            sampler = Sampler(rows, _MASK_BATCH, self.problem.generator)
            batches = min(_MASK_BATCHES, math.ceil(len(rows) / sampler.size))
            drawn = [sampler.draw() for _ in range(batches)]
            gradients = torch.stack([self._gradient(d, cells[d]) for d in drawn])
            squares.append(gradients.square().mean(0))
        chosen = specific_weights(squares[0], squares[1], self.settings.mask_share)
        return chosen.to(squares[0])

    def _metric(self, retained: Tensor) -> RetainedInputs | None:
        """Of the inputs that retain data give the network's layers, as the weights are now."""
        if self.settings.metric == "none":
            return None
        problem = self.problem
        order = torch.randperm(len(retained), generator=problem.generator)
        return RetainedInputs(
            problem.model, self.weights, problem.train, retained[order], problem.device
        )

    def _balance(self, look: Look) -> None:
        """Repair more while the retain probe has lost more than it may, and less again after."""
        factor = _REPAIR_RATE if look.probe_kept < _PROBE_BAR else 1 / _REPAIR_RATE
        lowest = self.settings.repair
        self.repair = min(max(self.repair * factor, lowest), _REPAIR_RANGE * lowest)

    def _roll_back(self, safe: list[Tensor], *, finite: bool) -> None:
        """Back to the last sound weights, with half the step and twice the repair from here on."""
        self.rollbacks += 1
        if self.rollbacks > _MAX_ROLLBACKS and not finite:
            raise Diverged(
                f"a loss became NaN or infinite again and again, down to a learning rate of"
                f" {self.rate:.1e}"
            )
        self.rate /= 2
        self.repair = min(2 * self.repair, _REPAIR_RANGE * self.settings.repair)
        self.rows.zero_()
        self._restore(safe)

    def _copy(self) -> list[Tensor]:
        return [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def _restore(self, weights: list[Tensor]) -> None:
        for weight, saved in zip(self.weights, weights, strict=True):
            weight.copy_(saved)
