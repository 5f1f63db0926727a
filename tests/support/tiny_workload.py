"""Workloads small enough to compute a step by hand, and one with every sort of output."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from engine.problem import Problem
from engine.tasks.depth import Depth
from engine.tasks.multilabel import Multilabel
from engine.tasks.regression import Regression
from engine.tasks.segmentation import Segmentation
from engine.workload import InstanceSet, Reporter, Split, Task, Workload
from engine.workloads.tensor_instances import TensorInstances, all_supervised

ONE_STEP: Mapping[str, JsonValue] = {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "min_steps": 1,
    "steps_per_instance": 1e-9,
}
"""Settings of a baseline that takes one step of plain gradient descent on whole sets."""


class TinyLinear(nn.Module):
    """Two tasks that read the same number, `w x` with w [3]; a new one has w = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        output = self.linear(inputs).squeeze(1)
        return {"left": output, "right": output}


class TinyMaps(nn.Module):
    """A convolution with BatchNorm, then a map of classes, a map of numbers and two labels."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.classes = nn.Conv2d(4, 3, 1)
        self.depth = nn.Conv2d(4, 1, 1)
        self.labels = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.shared(inputs)
        return {
            "classes": self.classes(features),
            "depth": self.depth(features).squeeze(1),
            "labels": self.labels(features.mean((2, 3))),
        }


@dataclass(frozen=True)
class TinyWorkload:
    """A network and its data, as given."""

    tasks: Mapping[str, Task]
    network: type[nn.Module]
    splits: Mapping[Split, InstanceSet]
    name: str = field(default="tiny", init=False)

    def build_model(self) -> nn.Module:
        return self.network()

    def instances(self, split: Split) -> InstanceSet:
        return self.splits[split]

    def train(
        self,
        model: nn.Module,
        instances: InstanceSet,
        supervision: Tensor,
        seed: int,
        progress: Reporter,
    ) -> int:
        raise NotImplementedError("the tests bring their own weights")


def _instances(inputs: Tensor, targets: Mapping[str, Tensor]) -> TensorInstances:
    count = len(inputs)
    return TensorInstances(
        [f"instance-{row}" for row in range(count)],
        [None] * count,
        inputs,
        targets,
        all_supervised(count, len(targets)),
    )


def linear_workload(earlier_target: float = 5.0) -> TinyWorkload:
    """Four instances with squared errors `(w x - y)^2`.

    At w = (2, 1, 0) the gradients of (left, right) are (2,0,2), (1,0,1) for row 0; (0,2,0), (0,4,0)
    for row 1; (6,6,0), (2,2,0) for row 2. Row 3 has the target given.
    """
    inputs = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 2]])
    train = _instances(
        inputs,
        {
            "left": torch.tensor([1.0, 0, 0, earlier_target]),
            "right": torch.tensor([1.5, -1, 2, earlier_target]),
        },
    )
    held_out = _instances(
        torch.tensor([[1.0, 0, 0], [0, 1, 1], [1, 1, 1]]),
        {"left": torch.tensor([1.0, 1, 1]), "right": torch.tensor([2.0, 1, 1])},
    )
    tasks = {name: Regression(name, 0.0, 1.0) for name in ("left", "right")}
    return TinyWorkload(tasks, TinyLinear, {"train": train, "val": held_out, "test": held_out})


def maps_workload() -> TinyWorkload:
    """Twelve 4 x 4 images to train on, eight held out, with random targets for three tasks."""
    random = torch.Generator().manual_seed(1)

    def draw(count: int) -> TensorInstances:
        return _instances(
            torch.rand(count, 1, 4, 4, generator=random),
            {
                "classes": torch.randint(3, (count, 4, 4), generator=random),
                "depth": torch.rand(count, 4, 4, generator=random) + 0.5,
                "labels": torch.randint(2, (count, 2), generator=random).float(),
            },
        )

    tasks: Mapping[str, Task] = {
        "classes": Segmentation("classes", 3),
        "depth": Depth("depth"),
        "labels": Multilabel("labels", 2),
    }
    splits: Mapping[Split, InstanceSet] = {"train": draw(12), "val": draw(8), "test": draw(8)}
    return TinyWorkload(tasks, TinyMaps, splits)


def problem(
    workload: Workload,
    model: nn.Module,
    forget: Tensor,
    settings: Mapping[str, JsonValue],
    retain: Tensor | None = None,
    earlier: Tensor | None = None,
) -> Problem:
    """A job with seed 0 on `model`; what is neither forgotten now nor earlier is retained."""
    train = workload.instances("train")
    earlier = torch.zeros_like(forget) if earlier is None else earlier
    return Problem(
        workload=workload,
        model=model,
        train=train,
        retain=train.supervision & ~forget & ~earlier if retain is None else retain,
        forget=forget,
        earlier=earlier,
        calibration=workload.instances("val"),
        settings=settings,
        generator=torch.Generator().manual_seed(0),
        seed=0,
        device=torch.device("cpu"),
        progress=lambda step, of: None,
    )


def linear_problem(
    forget: str,
    settings: Mapping[str, JsonValue],
    retain: Tensor | None = None,
    earlier_target: float = 5.0,
) -> Problem:
    """Row 0 of `linear_workload` is to be forgotten at w = (2, 1, 0), row 3 was earlier.

    `forget` says for which tasks: "both", or "left" alone.
    """
    model = TinyLinear()
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([[2.0, 1, 0]]))
    cells, earlier = torch.zeros(4, 2, dtype=torch.bool), torch.zeros(4, 2, dtype=torch.bool)
    cells[0, 0] = True
    cells[0, 1] = forget == "both"
    earlier[3] = True
    return problem(linear_workload(earlier_target), model, cells, settings, retain, earlier)


def weight(job: Problem) -> list[float]:
    """Where w of a linear problem's model is."""
    (only,) = job.model.parameters()
    return [float(value) for value in only.detach().flatten()]
