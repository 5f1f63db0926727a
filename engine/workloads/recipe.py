"""The training recipe that the shipped workloads share: supervised, multi-task, deterministic."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.errors import WorkloadError
from engine.evaluation import cell_losses, forward, task_mean
from engine.workload import InstanceSet, Reporter, Workload


@dataclass(frozen=True)
class Recipe:
    """AdamW on mini-batches drawn without replacement, the learning rate falling by a cosine."""

    epochs: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0


def fit(
    workload: Workload,
    model: nn.Module,
    instances: InstanceSet,
    supervision: Tensor,
    recipe: Recipe,
    seed: int,
    progress: Reporter,
) -> int:
    """Train `model` in place on the cells of `supervision` (bool [N, T]) and leave it in eval mode.

    The loss is the sum over tasks of the mean over a batch's cells of the task. An instance without
    a supervised cell is never drawn. Returns the gradient evaluations: instances passed, each
    counted once an epoch. Raises `Diverged` where a loss is not finite.
    """
    taught = supervision.any(1).nonzero().squeeze(1)
    if not len(taught):
        raise WorkloadError("no supervised instance is left to train on")
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    batches = math.ceil(len(taught) / recipe.batch_size)
    steps = recipe.epochs * batches
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, steps, eta_min=recipe.learning_rate / 20
    )
    model.train()
    step = 0
    progress(step, steps)
    for _ in range(recipe.epochs):
        order = taught[torch.randperm(len(taught), generator=generator)]
        for indices in order.split(recipe.batch_size):
            cells = supervision[indices]
            outputs, batch = forward(model, instances, indices, device)
            loss = task_mean(cell_losses(workload, outputs, batch, cells), cells)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
        progress(step, steps)
    model.eval()
    return recipe.epochs * len(taught)
