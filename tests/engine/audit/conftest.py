from collections.abc import Callable

import pytest
import torch

from engine.audit import Evidence
from engine.audit.halves import halves
from engine.manifest import resolve
from engine.spec import RequestCells, Thresholds
from engine.train import manifest_entries
from engine.workload import Workload

MakeEvidence = Callable[..., Evidence]


@pytest.fixture
def evidence() -> MakeEvidence:
    """Evidence for one request on a workload whose every training cell teaches."""

    def make(
        workload: Workload, instances: list[str], tasks: list[str], **thresholds: float
    ) -> Evidence:
        train = workload.instances("train")
        request = RequestCells(request_id="req_1", instances=tuple(instances), tasks=tuple(tasks))
        cells = resolve(
            manifest_entries(workload, train),
            [request],
            train,
            list(workload.tasks),
        )
        _, judging = halves(workload.instances("val"))
        return Evidence(
            workload,
            train,
            cells.retain,
            judging,
            cells.requests,
            Thresholds(**thresholds),
            torch.device("cpu"),
        )

    return make
