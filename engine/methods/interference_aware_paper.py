"""The method of "Interference-Aware Multi-Task Unlearning" (arXiv 2605.19042) as it is described.

Two projections of the gradient to be ascended:

1. *Task-aware*: each target task moves the weights inside its own low-rank subspace alone. For the
   matrix of a layer, [out, in], the subspace A_t [r, in] is the main right singular vectors of the
   task's forget gradients after the other tasks' span is removed; the A_t are orthonormal and
   mutually orthogonal (`engine.subspace`). The update is a product `B_t A_t`, merged at the end.
2. *Instance-level*: inside its subspace the task's forget gradient is made orthogonal to gradients
   of retain data, one after another (`engine.projection.complement`).

What the description leaves open, and what is done here:

- The other tasks' span: their main r directions on retain data; those of target tasks treated
  before count too. r is at most an equal part of the layer's inputs.
- The subspaces are taken once, at the parent, from a few mini-batches.
- Weights that are not matrices (biases, norms) stay as they are; a convolution is the matrix
  [out, in x height x width].
- The optimiser works on the factors B, for on the weights themselves Adam would leave the
  subspaces; its scaling turns the step a little away from the right angle to the retain gradients.
- Retain gradients: those of equal parts of one mini-batch, of all tasks together, at each step.
- Whether the retain loss is descended as well: no; `repair` adds it, inside the subspaces.
- When to stop: as all baselines do.
"""

from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from engine.gradients import pieces
from engine.methods.baseline import BaselineSettings, Job, Optimizer
from engine.problem import Outcome, Problem
from engine.projection import complement
from engine.subspace import task_subspaces

Bases = Sequence[Tensor]
"""Of one task: for each weight of the model a basis [R, in], R = 0 where it may not move."""


class PaperSettings(BaselineSettings):
    """The common ones, and those of the two projections."""

    rank: int = Field(16, ge=1)
    """Directions a task in each layer, at most."""
    subspace_batches: int = Field(4, ge=1)
    """Mini-batches whose gradients span a task's subspace."""
    rows: int = Field(4, ge=1)
    """Retain gradients a step, each of an equal part of the retain batch."""


def unlearn(problem: Problem) -> Outcome:
    """Ascend each target task's forget loss in its subspace, orthogonally to retain gradients."""
    settings = PaperSettings.parse(problem.settings)
    job = Job(problem, settings)
    bases = _bases(job, settings)

    def gradient(_: int) -> Tensor:
        chunks = job.draw_retain().chunk(settings.rows)
        rows = [job.loss_gradient(chunk, problem.retain) for chunk in chunks]
        indices = job.draw_forget()
        losses = job.losses(indices, problem.forget)
        total = torch.zeros_like(rows[0])
        for column, basis in bases.items():
            cells = problem.forget[indices, column]
            if bool(cells.any()):
                mean = losses[:, column].sum() / cells.sum()
                away = confine(job.gradient(mean, len(indices), keep=True), job.weights, basis)
                inside = torch.stack([confine(row, job.weights, basis) for row in rows])
                total += complement(away, inside)
        return -total

    joint = [torch.cat(pieces) for pieces in zip(*bases.values(), strict=True)]
    return job.descend(gradient, Factored(job.weights, joint, job.optimizer))


def confine(gradient: Tensor, weights: Sequence[nn.Parameter], bases: Bases) -> Tensor:
    """The part of a gradient [D] inside the subspaces: `G A' A` for each weight."""
    inside = []
    for piece, weight, basis in zip(pieces(gradient, weights), weights, bases, strict=True):
        matrix = piece.view(len(weight), -1) if weight.ndim > 1 else piece.view(1, -1)
        inside.append((matrix @ basis.T @ basis).flatten())
    return torch.cat(inside)


class Factored:
    """Moves weights inside subspaces: each is the parent's plus `B A`, and B is what is learnt."""

    def __init__(
        self,
        weights: Sequence[nn.Parameter],
        bases: Bases,
        optimizer: Callable[[list[nn.Parameter]], Optimizer],
    ) -> None:
        """Start with B = 0; `optimizer` makes the one that moves the factors."""
        self._weights = weights
        self._bases = bases
        self._parent = [weight.detach().clone() for weight in weights]
        self._factors = [
            nn.Parameter(weight.new_zeros(weight.numel() // basis.shape[1], len(basis)))
            for weight, basis in zip(weights, bases, strict=True)
        ]
        self._inner = optimizer(self._factors)

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """Descend along the gradient [D] of the weights, as far as the factors can follow it."""
        of_factors = [
            (piece.view(-1, basis.shape[1]) @ basis.T).flatten()
            for piece, basis in zip(pieces(gradient, self._weights), self._bases, strict=True)
        ]
        self._inner.step(torch.cat(of_factors), rate)
        for weight, parent, factor, basis in zip(
            self._weights, self._parent, self._factors, self._bases, strict=True
        ):
            weight.copy_(parent + (factor @ basis).view_as(weight))


def _bases(job: Job, settings: PaperSettings) -> dict[int, Bases]:
    """Each target task's subspaces, by its column."""
    problem = job.problem
    tasks = problem.forget.shape[1]
    targets = [column for column in range(tasks) if bool(problem.forget[:, column].any())]
    others = [
        column
        for column in range(tasks)
        if column not in targets and bool(problem.retain[:, column].any())
    ]
    forget = [_gradients(job, problem.forget, column, settings) for column in targets]
    retain = [_gradients(job, problem.retain, column, settings) for column in others]
    found: dict[int, list[Tensor]] = {column: [] for column in targets}
    for position, weight in enumerate(job.weights):
        width = weight[0].numel() if weight.ndim > 1 else weight.numel()
        if weight.ndim > 1:
            rank = max(1, min(settings.rank, width // tasks))
            spaces = task_subspaces(
                [rows[position] for rows in forget], [rows[position] for rows in retain], rank
            )
        else:
            spaces = [torch.zeros(0, width)] * len(targets)
        for column, space in zip(targets, spaces, strict=True):
            found[column].append(space.to(weight))
    return dict(found)


def _gradients(job: Job, cells: Tensor, column: int, settings: PaperSettings) -> list[Tensor]:
    """A task's gradients on a few mini-batches: for each weight [batches x out, in]."""
    chosen = torch.zeros_like(cells)
    chosen[:, column] = cells[:, column]
    rows = chosen.any(1).nonzero().squeeze(1)
    order = torch.randperm(len(rows), generator=job.problem.generator)
    stacks: list[list[Tensor]] = [[] for _ in job.weights]
    for indices in rows[order].split(settings.forget_batch)[: settings.subspace_batches]:
        gradient = job.loss_gradient(indices, chosen)
        for stack, piece, weight in zip(
            stacks, pieces(gradient, job.weights), job.weights, strict=True
        ):
            stack.append(piece.view(len(weight), -1) if weight.ndim > 1 else piece.view(1, -1))
    return [torch.cat(stack) for stack in stacks]
