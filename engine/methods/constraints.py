"""The two-sided constraints of a job: each forgotten cell has a loss to reach, and to stay at."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine import calibration, evaluation
from engine.errors import InvalidSpec
from engine.methods.peers import Peers
from engine.problem import Problem

_MOST_RISE = 1.25
"""Times the parent's held-out losses, up to which targets follow these."""


@dataclass
class Constraints:
    """Targets of the cells to forget, of those forgotten earlier, and of their kept tasks."""

    asked: Tensor
    """bool [N, T]: to be forgotten now."""
    earlier: Tensor
    """bool [N, T]: forgotten by earlier requests."""
    forgotten: Tensor
    """bool [N, T]: either."""
    kept: Tensor
    """bool [N, T]: cells that a forgotten instance still teaches; each stays at its own loss."""
    kept_losses: Tensor
    """[N, T]: the parent's."""
    targets: Tensor
    """[N, T]."""
    held_out: Tensor
    """[M, T]: the calibrating half's losses under the parent; NaN for no label."""
    peers: tuple[Peers, ...]
    """Of each task."""
    scales: Tensor
    """[T]: each task's mean held-out loss."""
    multipliers: list[float] = field(default_factory=list)
    """Each task's weight of forgetting."""
    ceiling: float = calibration.HIGHEST_MULTIPLIER
    """Of the multipliers: lower while forgetting costs more than repair can mend."""

    @classmethod
    def of(cls, problem: Problem, held_out: Tensor) -> "Constraints":
        """From the parent's losses and those of the calibrating half ([M, T], NaN for no label)."""
        forgotten = problem.forget | problem.earlier
        kept = problem.retain & problem.forget.any(1, keepdim=True)
        current = evaluation.losses(
            problem.workload, problem.model, problem.train, forgotten | kept, problem.device
        )
        for column, name in enumerate(problem.workload.tasks):
            if bool(forgotten[:, column].any()) and bool(held_out[:, column].isnan().all()):
                raise InvalidSpec(
                    f"task {name!r} has no held-out instance to calibrate on: give the workload"
                    " a validation split, or use the method retrain"
                )
        constraints = cls(
            problem.forget,
            problem.earlier,
            forgotten,
            kept,
            current,
            torch.zeros_like(current),
            held_out,
            tuple(
                Peers.of(problem, column, ~held_out[:, column].isnan())
                for column in range(held_out.shape[1])
            ),
            torch.ones(current.shape[1]),
            [1.0] * current.shape[1],
        )
        constraints.aim(held_out, torch.where(forgotten, current, math.nan))
        return constraints

    def aim(self, held_out: Tensor, losses: Tensor) -> None:
        """Move the targets to where the calibrating half's losses [M, T] are now.

        Each forgotten cell gets the quantile of its own rank among the `losses` [N, T] as they are
        now, earlier requests' cells among themselves. Pairing sorted with sorted is the cheapest
        way from one distribution to the other (optimal transport in one dimension), and an instance
        that is hard by nature, once let go, takes a high place by itself.

        Cells follow no further up than to a quarter above the parent's held-out losses, those of
        earlier requests only to these: many of them, chasing held-out losses that their own weight
        raises, would wear a task out.
        """
        for column, peers in enumerate(self.peers):
            strangers = held_out[:, column]
            if bool(strangers.isnan().all()):
                continue
            self.scales[column] = strangers.nanmean()
            for cells, most in ((self.asked, _MOST_RISE), (self.earlier, 1.0)):
                reference = calibration.no_higher(strangers, most * self.held_out[:, column])
                self._aim(column, cells[:, column], peers, reference, losses[:, column])

    def _aim(
        self, column: int, cells: Tensor, peers: Peers, strangers: Tensor, losses: Tensor
    ) -> None:
        """Set the targets of some `cells` [N] of a task, from strangers' losses [M]."""
        alone = cells.clone()
        people = [mine for rows in peers.leaving if len(mine := rows[cells[rows]])]
        if people:
            unseen = [strangers[rows] for rows in peers.unseen]
            reached = calibration.subject_targets(unseen, [losses[rows] for rows in people])
            for rows, target in zip(people, reached, strict=True):
                self.targets[rows, column] = target
                alone[rows] = False
        if bool(alone.any()):
            places = calibration.mid_ranks(losses[alone])
            known = strangers[~strangers.isnan()]
            self.targets[alone, column] = calibration.targets(known, places)

    def forget_loss(self, indices: Tensor, losses: Tensor) -> Tensor:
        """What to *ascend*: `sum_t lambda_t mean_i w_it l_it` over the batch's forgotten cells.

        `losses` [B, T] of the instances at `indices`; the weights are constants.
        """
        cells = self.forgotten[indices]
        weights = self._weights(indices, losses, self.targets, cells)
        return evaluation.task_mean(
            losses * (weights * torch.tensor(self.multipliers)).to(losses), cells.to(losses.device)
        )

    def kept_loss(self, indices: Tensor, losses: Tensor) -> Tensor:
        """What to *descend*: pulls the kept cells of the batch back to the loss they had."""
        cells = self.kept[indices]
        weights = self._weights(indices, losses, self.kept_losses, cells)
        return evaluation.task_mean(-losses * weights.to(losses), cells.to(losses.device))

    def limit(self, factor: float) -> None:
        """Lower or raise the ceiling by so much, between the bounds of any multiplier."""
        lowest, highest = calibration.LOWEST_MULTIPLIER, calibration.HIGHEST_MULTIPLIER
        self.ceiling = min(max(factor * self.ceiling, lowest), highest)

    def adapt(self, indices: Tensor, losses: Tensor) -> None:
        """Let each task's multiplier follow the batch's mean shortfall."""
        cells = self.forgotten[indices]
        shortfall = self.targets[indices] - losses.detach().cpu()
        for column in range(cells.shape[1]):
            rows = cells[:, column]
            if bool(rows.any()):
                following = calibration.next_multiplier(
                    self.multipliers[column],
                    float(shortfall[rows, column].mean()),
                    float(self.scales[column]),
                )
                self.multipliers[column] = min(following, self.ceiling)

    def _weights(self, indices: Tensor, losses: Tensor, target: Tensor, cells: Tensor) -> Tensor:
        now = losses.detach().cpu()
        columns = [
            calibration.two_sided_weights(
                target[indices, column], now[:, column], float(self.scales[column])
            )
            for column in range(cells.shape[1])
        ]
        return torch.where(cells, torch.stack(columns, 1), 0.0)
