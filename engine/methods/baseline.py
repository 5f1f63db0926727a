"""What the published methods share: mini-batches, the steps, and where a job stops.

A method is a formula for the gradient to descend; a `Job` takes the steps. All get what the default
method has and they can use: its learning-rate schedule, its repair terms, and its choice of the
weights by the calibrating half of the held-out data. Cells that earlier requests had forgotten
never teach, so they enter no gradient; the choice of the weights watches that they stay forgotten.
"""

import math
from collections.abc import Callable
from typing import Literal, Protocol

import torch
from pydantic import Field, JsonValue
from torch import Tensor, nn

from engine import evaluation
from engine.gradients import flat_gradient, pieces, trainable
from engine.methods.adam import Adam
from engine.methods.batches import Sampler
from engine.methods.method_settings import MethodSettings
from engine.methods.normalisation import re_estimate
from engine.methods.selection import Selector
from engine.problem import Outcome, Problem


class BaselineSettings(MethodSettings):
    """What every baseline can be told; the names are those of the default method."""

    learning_rate: float = Field(5e-4, gt=0, le=1)
    """At the start; it falls by a cosine to a twentieth."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Plain gradient descent moves by the learning rate times the gradient."""
    steps_per_instance: float = Field(3.0, gt=0)
    min_steps: int = Field(60, ge=1)
    """A job takes the larger of these and `steps_per_instance` times the forget instances."""
    forget_batch: int = Field(20, ge=1)
    retain_batch: int = Field(64, ge=1)
    repair: float = Field(0.0, ge=0)
    """Weight of the gradient of the retain loss in every step, beside the method's formula."""
    self_retain: float = Field(0.0, ge=0)
    """Weight of the loss of the forgotten instances on the tasks that they still teach."""
    check_every: int = Field(10, ge=1)
    """Steps between looks at the calibrating half."""


class Optimizer(Protocol):
    """Moves weights."""

    def step(self, gradient: Tensor, rate: float) -> None:
        """Descend along `gradient` [D]."""
        ...


class Sgd:
    """Plain gradient descent."""

    def __init__(self, weights: list[nn.Parameter]) -> None:
        """The weights are changed in place."""
        self.weights = weights

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """`w - rate gradient`."""
        for weight, piece in zip(self.weights, pieces(gradient, self.weights), strict=True):
            weight.sub_(rate * piece)


class Job:
    """One run of a baseline: batches, losses and gradients for its formula, and the steps.

    The model is in eval mode throughout, with BatchNorm's statistics of the retain data.
    """

    def __init__(self, problem: Problem, settings: BaselineSettings) -> None:
        """Ready to draw; the weights are the parent's."""
        self.problem = problem
        self.settings = settings
        self.forgetting = problem.forget.any(1).nonzero().squeeze(1)
        """Rows with a cell to forget."""
        self.retained = problem.retain.any(1).nonzero().squeeze(1)
        problem.model.eval()
        self._had_statistics = re_estimate(
            problem.model, problem.train, self.retained, problem.device
        )
        self.weights = trainable(problem.model)
        self.steps = max(
            settings.min_steps, round(settings.steps_per_instance * len(self.forgetting))
        )
        self.evaluations = 0
        self._kept = problem.retain & problem.forget.any(1, keepdim=True)
        generator = problem.generator
        self._forget_batches = Sampler(self.forgetting, settings.forget_batch, generator)
        self._retain_batches = Sampler(self.retained, settings.retain_batch, generator)
        self._kept_batches = Sampler(
            self._kept.any(1).nonzero().squeeze(1), settings.forget_batch, generator
        )

    def draw_forget(self) -> Tensor:
        """The next mini-batch of rows with a cell to forget, int64."""
        return self._forget_batches.draw()

    def draw_retain(self) -> Tensor:
        """The next mini-batch of rows that teach something, int64."""
        return self._retain_batches.draw()

    def losses(self, indices: Tensor, cells: Tensor) -> Tensor:
        """The losses of a batch's cells, [B, T]; `cells` is the whole bool [N, T]."""
        problem = self.problem
        outputs, batch = evaluation.forward(problem.model, problem.train, indices, problem.device)
        return evaluation.cell_losses(problem.workload, outputs, batch, cells[indices])

    def mean(self, losses: Tensor, indices: Tensor, cells: Tensor) -> Tensor:
        """The sum over tasks of the mean over a batch's cells, a scalar."""
        return evaluation.task_mean(losses, cells[indices].to(losses.device))

    def gradient(self, loss: Tensor, instances: int, *, keep: bool = False) -> Tensor:
        """The gradient [D] of a loss on so many instances, which it counts."""
        self.evaluations += instances
        return flat_gradient(loss, self.weights, keep=keep)

    def loss_gradient(self, indices: Tensor, cells: Tensor) -> Tensor:
        """The gradient [D] of the batch's loss on `cells`."""
        loss = self.mean(self.losses(indices, cells), indices, cells)
        return self.gradient(loss, len(indices))

    def forget_gradient(self) -> Tensor:
        """Of the loss of the next forget batch on the cells to forget, [D]."""
        return self.loss_gradient(self.draw_forget(), self.problem.forget)

    def retain_gradient(self) -> Tensor:
        """Of the loss of the next retain batch, [D]."""
        return self.loss_gradient(self.draw_retain(), self.problem.retain)

    def optimizer(self, weights: list[nn.Parameter]) -> Optimizer:
        """The one that the settings name, for these weights."""
        return Adam(weights) if self.settings.optimizer == "adam" else Sgd(weights)

    def descend(
        self, gradient: Callable[[int], Tensor], optimizer: Optimizer | None = None
    ) -> Outcome:
        """Descend the formula's gradient at each step (0, 1...) and keep the best weights seen.

        Best is the lowest score of `selection` on the calibrating half (its UIS, plus what the
        membership AUC and the retain probe miss by) among the looks that are taken; the parent
        itself is no candidate. Raises `Diverged` where a loss is not finite.
        """
        problem, settings = self.problem, self.settings
        selector = Selector(problem)
        optimizer = optimizer or self.optimizer(self.weights)
        best_score, best_step, best = math.inf, 0, self._copy()
        for step in range(self.steps):
            decay = 0.525 + 0.475 * math.cos(math.pi * step / self.steps)  # from 1 to a twentieth
            optimizer.step(gradient(step) + self._mending(), settings.learning_rate * decay)
            if (step + 1) % settings.check_every == 0 or step + 1 == self.steps:
                score = selector.look().score
                if score < best_score:
                    best_score, best_step, best = score, step + 1, self._copy()
                problem.progress(step + 1, self.steps)
        self._restore(best)
        return self.finish(
            settings,
            {"steps": self.steps, "stopped_at": best_step, "calibration_score": best_score},
        )

    def finish(self, settings: MethodSettings, derived: dict[str, JsonValue]) -> Outcome:
        """The outcome of the model as it is, its BatchNorm statistics taken anew."""
        notes = []
        if self._had_statistics:
            problem = self.problem
            re_estimate(problem.model, problem.train, self.retained, problem.device)
            notes.append("BatchNorm statistics were re-estimated on retain data.")
        return Outcome(
            settings={**settings.model_dump(), **derived},
            gradient_evaluations=self.evaluations,
            notes=tuple(notes),
        )

    def _mending(self) -> Tensor | float:
        """The repair terms' gradient [D], or 0 without them."""
        total: Tensor | float = 0.0
        if self.settings.repair:
            total = self.settings.repair * self.retain_gradient()
        if self.settings.self_retain and len(self._kept_batches.rows):
            rows = self._kept_batches.draw()
            total = total + self.settings.self_retain * self.loss_gradient(rows, self._kept)
        return total

    def _copy(self) -> list[Tensor]:
        return [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def _restore(self, weights: list[Tensor]) -> None:
        for weight, saved in zip(self.weights, weights, strict=True):
            weight.copy_(saved)
