import pytest
import torch
from torch import Tensor, nn

from engine.errors import WorkloadError
from engine.extra_metrics import extra_metrics, extra_scores
from engine.tasks.classification import Classification
from engine.tasks.depth import Depth
from engine.workloads.digits import DigitsWorkload
from engine.workloads.scenes import ScenesWorkload

_CPU = torch.device("cpu")


class _Oracle(nn.Module):
    """Answers with the targets of the whole split."""

    def __init__(self, outputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {name: output[: len(inputs)] for name, output in self.outputs.items()}


def test_the_truth_scores_one_and_a_task_without_cells_nothing() -> None:
    workload = ScenesWorkload(size=8, resolution=16)
    test = workload.instances("test")
    batch = test.batch(torch.arange(len(test)))
    oracle = _Oracle(
        {
            "segmentation": torch.zeros(len(test), 5, 16, 16),
            "depth": batch.targets["depth"] / 3.0,
            "normals": batch.targets["normals"],
        }
    )
    sets = [test.supervision, torch.zeros_like(test.supervision)]
    found, none = extra_scores(workload, oracle, test, sets, _CPU)
    one = pytest.approx(1)
    assert found == {"depth": {"delta1": one}, "normals": {"a11.25": one, "a30": one}}
    assert none == {"depth": {"delta1": None}, "normals": {"a11.25": None, "a30": None}}


def test_other_tasks_have_none_and_cost_no_pass() -> None:
    assert extra_metrics(Classification("digit", 10)) == {}
    workload = DigitsWorkload()
    test = workload.instances("test")
    nothing = nn.Module()  # cannot be called
    assert extra_scores(workload, nothing, test, [test.supervision] * 2, _CPU) == [{}, {}]


class _Broken(Depth):
    def extra_metrics(self):  # type: ignore[no-untyped-def]
        raise LookupError("delta")


def test_one_that_raises_is_named() -> None:
    with pytest.raises(
        WorkloadError, match="extra metrics of task 'far' raised LookupError: delta"
    ):
        extra_metrics(_Broken("far"))
