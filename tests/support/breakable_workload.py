"""A small sound workload, and every way in which an owner's own could be broken."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from engine.evaluation import forward
from engine.tasks.regression import Regression
from engine.workload import Batch, InstanceSet, Reporter, Split, Task
from engine.workloads.networks import MultiTaskMLP
from engine.workloads.recipe import Recipe, fit
from engine.workloads.tensor_instances import TensorInstances, all_supervised


class Halved(nn.Module):
    """Shares everything: each task reads one number of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        output = self.layer(inputs)
        return {"left": output[:, 0], "right": output[:, 1]}


class Faulty(nn.Module):
    """Wraps a network and spoils its outputs."""

    def __init__(self, network: nn.Module, fault: str | None) -> None:
        super().__init__()
        self.network = network
        self.fault = fault

    def forward(self, inputs: Tensor) -> Any:
        outputs: dict[str, Tensor] = self.network(inputs)
        match self.fault:
            case "forward raises":
                raise ZeroDivisionError("no way forward")
            case "output missing":
                del outputs["right"]
            case "output short":
                outputs["right"] = outputs["right"][1:]
            case "output no mapping":
                return outputs["right"]
        return outputs


@dataclass(frozen=True)
class FaultyTask(Regression):
    """Spoils its loss or its metric."""

    fault: str | None = None

    def loss(self, output: Tensor, target: Tensor) -> Any:
        loss = super().loss(output, target)
        match self.fault:
            case "loss raises":
                raise LookupError("no loss\nto be found")
            case "loss nan":
                return loss * torch.nan
            case "loss reduced":
                return loss.mean()
            case "loss a number":
                return 1.0
            case "loss cut off":
                return loss.detach()
        return loss

    def new_metric(self) -> Any:
        if self.fault == "metric raises":
            raise LookupError
        return super().new_metric()


@dataclass(frozen=True)
class FaultyInstances:
    """Wraps instances and spoils what they give."""

    whole: TensorInstances
    fault: str | None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def ids(self) -> Any:
        ids = self.whole.ids
        return [ids[0], *ids[:-1]] if self.fault == "ids twice" else ids

    @property
    def subjects(self) -> Any:
        return self.whole.subjects[self.fault == "subjects short" :]

    @property
    def supervision(self) -> Any:
        whole = self.whole.supervision
        return whole.float() if self.fault == "supervision no bool" else whole

    def batch(self, indices: Tensor) -> Batch:
        batch = self.whole.batch(indices)
        if self.fault == "batch raises":
            raise FileNotFoundError("image 7 is gone")
        if self.fault == "target missing":
            return replace(batch, targets={"left": batch.targets["left"]})
        return batch


class BreakableWorkload:
    """Two numbers, `left` and `right`, from four; sound unless told otherwise."""

    name = "breakable"

    def __init__(
        self,
        fault: str | None = None,
        held_out: int = 60,
        unlabelled: list[str] | None = None,
        shared: bool = False,
        one_label: int = 0,
    ) -> None:
        """`unlabelled` tasks have no held-out label; `shared` heads have no weights of their own.

        `held_out` instances are for validation; the first `one_label` of the training instances
        have no label for `right`.
        """
        self.fault = fault
        self.held_out = held_out
        self.unlabelled = unlabelled or []
        self.shared = shared
        self.one_label = one_label
        self.recipe = Recipe(epochs=30, learning_rate=1e-2)

    @property
    def tasks(self) -> Mapping[str, Task]:
        if self.fault == "no tasks":
            return {}
        names = ("left", "wrong" if self.fault == "task misnamed" else "right")
        return {
            key: FaultyTask(name, 0.0, 1.0, fault=self.fault if key == "right" else None)
            for key, name in zip(("left", "right"), names, strict=True)
        }

    def build_model(self) -> Any:
        match self.fault:
            case "build raises":
                raise MemoryError
            case "build no module":
                return [1, 2]
        network = Halved() if self.shared else MultiTaskMLP(4, (16,), {"left": (), "right": ()})
        return Faulty(network, self.fault)

    def instances(self, split: Split) -> InstanceSet:
        if self.fault == "instances raise":
            raise PermissionError("the share is not mounted")
        count = {"train": 60, "val": self.held_out, "test": 20}[split]
        seed = {"train": 0, "val": 1, "test": 2}[split]
        random = torch.Generator().manual_seed(seed)
        inputs = torch.randn(count, 4, generator=random)
        noise = torch.randn(count, 2, generator=random)
        supervision = all_supervised(count, 2)
        if split == "train":
            supervision[: self.one_label, 1] = False
        else:
            for task in self.unlabelled:
                supervision[:, ["left", "right"].index(task)] = False
        targets = inputs[:, :2] + noise
        targets[~supervision] = torch.nan
        whole = TensorInstances(
            ids=[f"{split}-{number}" for number in range(count)],
            subjects=[None] * count,
            inputs=inputs,
            targets={"left": targets[:, 0], "right": targets[:, 1]},
            supervision=supervision,
        )
        return FaultyInstances(whole, self.fault)

    def train(
        self,
        model: nn.Module,
        instances: InstanceSet,
        supervision: Tensor,
        seed: int,
        progress: Reporter,
    ) -> int:
        if self.fault == "train raises":
            forward(model, instances, torch.arange(2), torch.device("cpu"))
            raise NotImplementedError("nobody may train this again")
        return fit(self, model, instances, supervision, self.recipe, seed, progress)
