import math

import pytest
import torch
from torch import Tensor, nn

from engine.dense_scores import further_metrics, further_scores
from engine.tasks.classification import Classification
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
    scores = further_scores(workload, oracle, test, test.supervision, _CPU)
    assert scores["depth"]["delta_1.25"] == pytest.approx(1)
    assert scores["normals"] == {"a11.25": pytest.approx(1), "a30": pytest.approx(1)}
    none = further_scores(workload, oracle, test, torch.zeros_like(test.supervision), _CPU)
    assert math.isnan(none["depth"]["delta_1.25"])


def test_other_tasks_have_no_further_metric() -> None:
    assert further_metrics(Classification("digit", 10)) == {}
