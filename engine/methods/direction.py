"""One step's direction: forget towards the targets, harm no retain data, repair what was harmed."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from engine import evaluation
from engine.errors import Diverged
from engine.gradient_rows import GradientRows
from engine.gradients import flat_gradient, flatten, specific_weights, trainable
from engine.methods.batches import Sampler
from engine.methods.constraints import Constraints
from engine.methods.repair import Repair
from engine.methods.settings import Settings
from engine.problem import Problem
from engine.projection import complement_weights, cone_weights
from engine.retained_inputs import RetainedInputs

_MASK_BATCH = 16
_MASK_BATCHES = 24


class Direction:
    """Draws mini-batches and makes of them where to move the weights, [D]."""

    def __init__(self, problem: Problem, settings: Settings, constraints: Constraints) -> None:
        """Ready for the first step; the model has the parent's weights."""
        self.problem = problem
        self.settings = settings
        self.constraints = constraints
        self.weights = trainable(problem.model)
        self.evaluations = 0
        """Instances whose gradient was taken, by all processes together."""
        forgetting = problem.forget.any(1).nonzero().squeeze(1)
        earlier = problem.earlier.any(1).nonzero().squeeze(1)
        retained = problem.retain.any(1).nonzero().squeeze(1)
        self._forget = [
            Sampler(rows, settings.forget_batch, problem.generator)
            for rows in (forgetting, earlier)
            if len(rows)
        ]
        self._retain = Sampler(retained, settings.retain_batch, problem.generator)
        self._rows = GradientRows(
            settings.row_chunks * settings.row_memory,
            [weight.numel() for weight in self.weights],
            problem.device,
            settings.row_bytes,
        )
        self._mask = self._specific(forgetting, retained)
        self._metric = self._of_retained_inputs(retained)

    def __call__(self, repair: Repair) -> Tensor:
        """The next step's, [D], with so much weight on the retain gradient.

        What the forgotten instances still teach is kept with a weight that grows as repair does.

        Raises `Diverged` where a loss is not finite.
        """
        problem = self.problem
        forget = kept = torch.zeros((), device=problem.device)
        for sampler in self._forget:
            indices = sampler.draw()
            cells = self.constraints.forgotten[indices] | self.constraints.kept[indices]
            mine, losses = self._losses(indices, cells)
            forget = forget + self.constraints.forget_loss(indices, mine)
            kept = kept + self.constraints.kept_loss(indices, mine)
            self.constraints.adapt(indices, losses)
        partial = bool(self.constraints.kept.any())
        towards = self._gradient(forget, keep=partial)
        # In place from here on: each of these vectors is as large as the network.
        mend = self._retain_gradient().mul_(repair.now)
        if partial:
            mend.add_(self._gradient(kept), alpha=self.settings.self_retain * repair.growth)
        move = self._projected(towards).sub_(mend)
        del towards, mend
        if self._metric is not None:
            move = self._metric(move)
        return move if self._mask is None else move.mul_(self._mask)

    def forget_rows(self) -> None:
        """Drop the retain gradients of steps that were taken back."""
        self._rows.clear()

    def tensors(self) -> dict[str, Tensor]:
        """What changes from step to step; for `restore`."""
        waiting = {f"waiting.{n}": s.waiting for n, s in enumerate([*self._forget, self._retain])}
        return {**self._rows.tensors(), "targets": self.constraints.targets, **waiting}

    def restore(self, tensors: Mapping[str, Tensor], evaluations: int, next_row: int) -> None:
        """Go on where another process was when it took these `tensors`."""
        self._rows.restore(tensors, next_row)
        self.constraints.targets.copy_(tensors["targets"])
        for number, sampler in enumerate([*self._forget, self._retain]):
            sampler.waiting = tensors[f"waiting.{number}"]
        self.evaluations = evaluations

    @property
    def next_row(self) -> int:
        """Where the next retain gradient goes."""
        return self._rows.next

    def _projected(self, towards: Tensor) -> Tensor:
        match self.settings.projection:
            case "cone":
                return self._rows.project(towards, cone_weights)
            case "complement":
                return self._rows.project(towards, complement_weights)
            case "none":
                return towards

    def _losses(self, indices: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of a batch's cells, [B, T] each: of this process's share, then of all.

        The first are differentiable, and 0 for instances that are another process's share.
        """
        problem, group = self.problem, self.problem.group
        share = group.share(len(indices))
        mine = torch.zeros(cells.shape, device=problem.device)
        try:
            if len(share):
                with problem.autocast():
                    outputs, batch = evaluation.forward(
                        problem.model, problem.train, indices[share], problem.device
                    )
                outputs = {name: output.float() for name, output in outputs.items()}
                found = evaluation.cell_losses(problem.workload, outputs, batch, cells[share])
                mine = mine.index_put((share.to(mine.device),), found)
        except Diverged:
            if group.size == 1:
                raise
            mine = mine + math.nan  # the others wait for a sum: they learn of it from that
        self.evaluations += len(indices)
        losses = group.total(mine.detach().clone())
        if not bool(losses.isfinite().all()):
            raise Diverged("a loss became NaN or infinite")
        return mine, losses

    def _gradient(self, loss: Tensor, *, keep: bool = False) -> Tensor:
        """The gradient [D] of the sum over the processes of a scalar."""
        return self.problem.group.total(flat_gradient(loss, self.weights, keep=keep))

    def _retain_gradient(self) -> Tensor:
        """The gradient of the retain loss on a mini-batch, [D]; its chunks are kept as rows."""
        first, *others = self._retain.draw().chunk(self.settings.row_chunks)
        total = self._cells_gradient(first, self.problem.retain[first])
        self._rows.add(total)
        for chunk in others:
            gradient = self._cells_gradient(chunk, self.problem.retain[chunk])
            self._rows.add(gradient)
            total += gradient
        return total.div_(1 + len(others))

    def _cells_gradient(self, indices: Tensor, cells: Tensor) -> Tensor:
        """The gradient of the mean loss of a batch's cells, summed over tasks, [D]."""
        mine, _ = self._losses(indices, cells)
        return self._gradient(evaluation.task_mean(mine, cells.to(mine.device)))

    def _specific(self, forgetting: Tensor, retained: Tensor) -> Tensor | None:
        """1 for the weights that may change, else 0; [D]. None where all of them may."""
        if self.settings.mask_share == 1:
            return None
        problem = self.problem
        squares = []
        for rows, cells in ((forgetting, problem.forget), (retained, problem.retain)):
            sampler = Sampler(rows, _MASK_BATCH, problem.generator)
            batches = min(_MASK_BATCHES, math.ceil(len(rows) / sampler.size))
            total = torch.zeros_like(flatten(self.weights))
            for _ in range(batches):
                drawn = sampler.draw()
                total += self._cells_gradient(drawn, cells[drawn]).square()
            squares.append(total / batches)
        chosen = specific_weights(squares[0], squares[1], self.settings.mask_share)
        return chosen.to(squares[0])

    def _of_retained_inputs(self, retained: Tensor) -> RetainedInputs | None:
        """The metric of the weights as they are now."""
        if self.settings.metric == "none":
            return None
        problem = self.problem
        order = torch.randperm(len(retained), generator=problem.generator)
        return RetainedInputs(
            problem.model, self.weights, problem.train, retained[order], problem.device
        )
