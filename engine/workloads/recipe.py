"""The training recipe that the shipped workloads share: supervised, multi-task, deterministic."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.errors import Diverged, WorkloadError
from engine.workload import InstanceSet, Reporter, Task


@dataclass(frozen=True)
class Recipe:
    """AdamW on mini-batches drawn without replacement, the learning rate falling by a cosine."""

    epochs: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0


def cell_loss(
    outputs: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    tasks: Mapping[str, Task],
    supervision: Tensor,
) -> Tensor:
    """The sum over tasks of the mean loss of the supervised cells of a batch, a scalar.

    `supervision` is bool [B, T]. A cell that is not supervised is not even computed, so that a
    missing label can have any value.
    """
    total = supervision.new_zeros((), dtype=torch.float32)
    for column, (name, task) in enumerate(tasks.items()):
        rows = supervision[:, column].nonzero().squeeze(1)
        if len(rows):
            total = total + task.loss(outputs[name][rows], targets[name][rows]).mean()
    return total


def fit(
    model: nn.Module,
    tasks: Mapping[str, Task],
    instances: InstanceSet,
    supervision: Tensor,
    recipe: Recipe,
    seed: int,
    progress: Reporter,
) -> int:
    """Train `model` in place on the cells of `supervision` (bool [N, T]) and leave it in eval mode.

    Returns the gradient evaluations: instances passed, each counted once an epoch. An instance
    without any supervised cell is never drawn. Raises `Diverged` where the loss is not finite.
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
    for epoch in range(recipe.epochs):
        order = taught[torch.randperm(len(taught), generator=generator)]
        for indices in order.split(recipe.batch_size):
            batch = instances.batch(indices)
            targets = {name: target.to(device) for name, target in batch.targets.items()}
            loss = cell_loss(
                model(batch.inputs.to(device)), targets, tasks, supervision[indices].to(device)
            )
            if not math.isfinite(loss.item()):
                raise Diverged(f"the training loss became {loss.item()} in epoch {epoch + 1}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
        progress(step, steps)
    model.eval()
    return recipe.epochs * len(taught)
