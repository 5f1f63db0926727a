"""A job on several processes: each takes its share of every mini-batch; the gradients are summed.

Every process has the whole model, draws the same batches and takes the same steps; only forward
and backward passes are shared out. Started by `torchrun`, which tells each process who it is.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from engine.errors import InvalidSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """One process among those of its job; alone by default."""

    rank: int = 0
    size: int = 1

    def share(self, batch: int) -> Tensor:
        """The positions in a mini-batch of so many that are this process's part, int64."""
        return torch.arange(self.rank, batch, self.size)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over the processes of a tensor that they all have; overwrites it."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def agreed(self, find: Callable[[], T]) -> T:
        """What the first process finds, at all of them: rounding must not part their ways."""
        if self.size == 1:
            return find()
        found: list[T | None] = [find() if self.rank == 0 else None]
        dist.broadcast_object_list(found)
        return found[0]  # type: ignore[return-value]


ALONE = Group()


def join_group(device: str) -> tuple[Group, str]:
    """The group by the variables that `torchrun` sets, and the device of this process.

    Several processes on `cuda` have one GPU each. Raises `InvalidSpec` where they cannot meet.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE, device
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidSpec(f"the {size} processes of this job cannot meet: {reason}") from error
    return Group(dist.get_rank(), size), device


def leave_group(group: Group) -> None:
    """Part from the others, who may still be at work: nothing is waited for."""
    if group.size > 1:
        dist.destroy_process_group()
