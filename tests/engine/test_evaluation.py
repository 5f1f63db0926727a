import math

import pytest
import torch
from torch import Tensor, nn

from engine import evaluation
from engine.errors import Diverged, WorkloadError
from engine.tasks.classification import Classification
from engine.workloads.digits import DigitsWorkload

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def workload() -> DigitsWorkload:
    return DigitsWorkload(hidden=8)


@pytest.fixture(scope="module")
def model(workload: DigitsWorkload) -> nn.Module:
    torch.manual_seed(0)
    return workload.build_model()


def test_losses_are_given_for_the_cells_asked_and_no_others(
    workload: DigitsWorkload, model: nn.Module
) -> None:
    train = workload.instances("train")
    cells = torch.zeros(len(train), 3, dtype=torch.bool)
    cells[[3, 600], [0, 2]] = True
    losses = evaluation.losses(workload, model, train, cells, CPU)
    assert torch.equal(~losses.isnan(), cells)
    batch = train.batch(torch.tensor([600]))
    alone = workload.tasks["magnitude"].loss(
        model(batch.inputs)["magnitude"].detach(), batch.targets["magnitude"]
    )
    assert float(losses[600, 2]) == pytest.approx(float(alone), abs=1e-6)


def test_metrics_of_several_sets_agree_with_each_set_alone(
    workload: DigitsWorkload, model: nn.Module
) -> None:
    train = workload.instances("train")
    some = torch.zeros(len(train), 3, dtype=torch.bool)
    some[:50, 1] = True
    both = evaluation.metrics(workload, model, train, [train.supervision, some], CPU)
    alone = evaluation.metrics(workload, model, train, [some], CPU)
    assert both[1] == alone[0]
    assert both[1][0] is None
    assert all(value is not None for value in both[0])


def test_a_metric_of_torchmetrics_measures_the_same_and_waits_for_no_other_process(
    workload: DigitsWorkload, model: nn.Module
) -> None:
    from torchmetrics.classification import (  # noqa: PLC0415 - takes seconds
        MulticlassAccuracy,
    )

    given: list[MulticlassAccuracy] = []

    class Counted(Classification):
        def new_metric(self) -> MulticlassAccuracy:  # type: ignore[override]
            given.append(MulticlassAccuracy(self.classes, average="micro"))
            return given[-1]

    counted = _With(Counted("digit", 10))
    train = workload.instances("train")
    (own,) = evaluation.metrics(workload, model, train, [train.supervision], CPU)
    cells = train.supervision[:, :1]
    (theirs,) = evaluation.metrics(counted, model, train, [cells], CPU)
    assert theirs == [pytest.approx(own[0])]
    (metric,) = given
    assert not metric.distributed_available_fn()


def test_the_larger_the_inputs_the_fewer_are_taken_at_a_time(
    workload: DigitsWorkload, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = workload.instances("train")
    cells = torch.zeros_like(train.supervision)
    cells[:25] = True

    def sizes() -> list[int]:
        return [len(indices) for indices, _, _ in evaluation.passes(model, train, cells, CPU)]

    assert sizes() == [25]
    monkeypatch.setattr("engine.evaluation._MOST_ELEMENTS", 10 * 64)  # ten digits of 8 x 8 pixels
    assert sizes() == [10, 10, 5]
    monkeypatch.setattr("engine.evaluation._MOST_ELEMENTS", 1)
    assert sizes() == [1] * 25
    cells[:] = False
    assert sizes() == []


def test_a_mean_over_tasks_ignores_tasks_without_cells() -> None:
    losses = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    cells = torch.tensor([[True, False], [True, False]])
    assert evaluation.task_mean(losses, cells) == 2


class _Reduced(Classification):
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return super().loss(output, target).mean()


class _Infinite(Classification):
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return super().loss(output, target) + math.inf


class _With(DigitsWorkload):
    def __init__(self, task: Classification) -> None:
        super().__init__(hidden=8)
        self.task = task

    @property
    def tasks(self):  # type: ignore[no-untyped-def]
        return {"digit": self.task}


@pytest.mark.parametrize(
    ("task", "error", "words"),
    [
        (_Reduced("digit", 10), WorkloadError, "must have one value an instance"),
        (_Infinite("digit", 10), Diverged, "became NaN or infinite"),
    ],
)
def test_a_loss_that_is_no_loss_is_named(
    model: nn.Module, task: Classification, error: type[Exception], words: str
) -> None:
    broken = _With(task)
    cells = torch.ones(700, 1, dtype=torch.bool)
    with pytest.raises(error, match=words):
        evaluation.losses(broken, model, broken.instances("train"), cells, CPU)
