"""The contract between the engine and a model's owner.

A workload tells the engine how to build the network, where its data are, and how each task
measures an output. It is installed beside the engine and found by the entry point group
`expunge.workloads`; the entry point is called with the model's `workload_options` as keywords.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor, nn

Split = Literal["train", "val", "test"]
Outputs = Mapping[str, Tensor]
Reporter = Callable[[int, int], None]
"""Called with (step, of) as long work goes on."""


class Metric(Protocol):
    """What the engine uses of a metric; one of torchmetrics is one too.

    The engine itself does not import torchmetrics, whose import takes as long as torch's.
    """

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in a batch."""
        ...

    def compute(self) -> Tensor:
        """The metric over all batches so far, a scalar."""
        ...


class Task(Protocol):
    """One learning task: a head of the network."""

    @property
    def name(self) -> str:
        """The key of its output and its target."""
        ...

    @property
    def kind(self) -> str:
        """classification, regression, segmentation..."""
        ...

    @property
    def metric_name(self) -> str:
        """What `new_metric` measures, for people."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger metric is a better one."""
        ...

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """One value an instance, not reduced: [B]."""
        ...

    def new_metric(self) -> Metric:
        """An empty accumulator."""
        ...


@dataclass(frozen=True)
class Batch:
    """Inputs [B, ...] and each task's targets [B, ...]."""

    inputs: Tensor
    targets: Mapping[str, Tensor]


class InstanceSet(Protocol):
    """The instances of one split, in a fixed order."""

    @property
    def ids(self) -> Sequence[str]:
        """Stable ids, unique in the split."""
        ...

    @property
    def subjects(self) -> Sequence[str | None]:
        """To whom each instance belongs, where known."""
        ...

    @property
    def digests(self) -> Sequence[str]:
        """Hex sha256 of each instance's content."""
        ...

    @property
    def supervision(self) -> Tensor:
        """Which instance carries a label for which task: bool [N, T], tasks in workload order."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Batch:
        """The instances at these positions (int64 [B])."""
        ...


class Workload(Protocol):
    """A network with its data and tasks."""

    @property
    def name(self) -> str:
        """The entry point's name."""
        ...

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Tasks by name, in the order of every [.., T] matrix."""
        ...

    def build_model(self) -> nn.Module:
        """A freshly initialised network; `forward(inputs)` gives `{task: output}`."""
        ...

    def instances(self, split: Split) -> InstanceSet:
        """One split of the data."""
        ...

    def train(
        self,
        model: nn.Module,
        instances: InstanceSet,
        supervision: Tensor,
        seed: int,
        progress: Reporter,
    ) -> int:
        """Train in place on the cells of `supervision` (bool [N, T]); the owner's own recipe.

        Returns the gradient evaluations spent: instances passed, each counted once an epoch.
        """
        ...


@runtime_checkable
class TellsEpochs(Protocol):
    """A workload that says how often its recipe passes the data: cost estimates start from it."""

    @property
    def epochs(self) -> int | None:
        """None where that cannot be said without reading the data."""
        ...


def epochs_of(workload: Workload) -> int | None:
    """The epochs of the owner's recipe, where the workload tells them."""
    told = workload.epochs if isinstance(workload, TellsEpochs) else None
    return told if isinstance(told, int) and told > 0 else None
