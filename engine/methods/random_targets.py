"""Wrong targets for cells to forget, for any kind of task: those of other, retained instances."""

import torch
from torch import Tensor

from engine import evaluation
from engine.errors import InvalidSpec
from engine.methods.baseline import Job
from engine.problem import Problem
from engine.workload import Batch


class RandomTargets:
    """Each cell to forget gets the target of a retained instance, drawn once for the whole job.

    For labels this is a draw from their distribution among the retained, the right one included;
    numbers, maps and points keep their range and structure, which noise would not have.
    """

    def __init__(self, problem: Problem) -> None:
        """Draw the donors; raises `InvalidSpec` for a task that no retained instance teaches."""
        self._problem = problem
        self.donors = torch.zeros(problem.forget.shape, dtype=torch.int64)
        """[N, T]: the row whose target a cell to forget gets."""
        for column, name in enumerate(problem.workload.tasks):
            wanted = problem.forget[:, column]
            if not bool(wanted.any()):
                continue
            pool = problem.retain[:, column].nonzero().squeeze(1)
            if not len(pool):
                raise InvalidSpec(
                    f"no retained instance teaches task {name!r}, so there is no other target to"
                    " give; use the method retrain"
                )
            draws = torch.randint(len(pool), (int(wanted.sum()),), generator=problem.generator)
            self.donors[wanted, column] = pool[draws]

    def gradient(self, job: Job) -> Tensor:
        """Of the loss of the next forget batch against its wrong targets, [D]."""
        problem, indices = self._problem, job.draw_forget()
        outputs, batch = evaluation.forward(problem.model, problem.train, indices, problem.device)
        wrong = self._relabelled(indices, batch)
        losses = evaluation.cell_losses(problem.workload, outputs, wrong, problem.forget[indices])
        return job.gradient(job.mean(losses, indices, problem.forget), len(indices))

    def _relabelled(self, indices: Tensor, batch: Batch) -> Batch:
        targets = dict(batch.targets)
        for column, name in enumerate(self._problem.workload.tasks):
            rows = self._problem.forget[indices, column].nonzero().squeeze(1)
            if len(rows):
                donors = self.donors[indices[rows], column]
                given = self._problem.train.batch(donors).targets[name].to(targets[name])
                targets[name] = targets[name].index_copy(0, rows.to(given.device), given)
        return Batch(batch.inputs, targets)
