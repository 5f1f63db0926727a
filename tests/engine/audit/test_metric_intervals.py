from collections.abc import Callable
from typing import Any

import torch

from engine.audit import Evidence, audit
from engine.spec import AuditReport


def audited(case: Evidence, model: Any) -> AuditReport:
    return audit(case, model, model, lambda *_: None)


def test_each_metric_lies_in_an_interval_that_narrows_with_more_instances(
    digits: Any, evidence: Callable[..., Evidence]
) -> None:
    ids, tasks = digits.workload.instances("train").ids, list(digits.workload.tasks)
    torch.manual_seed(0)
    model = digits.workload.build_model()  # untrained: what it gets right is chance
    widths = []
    for count in (20, 320):
        cells = audited(evidence(digits.workload, list(ids[:count]), tasks), model).cells
        for cell in cells:
            for interval, change in (
                (cell.forget_interval, cell.forget),
                (cell.validation_interval, cell.validation),
            ):
                assert interval is not None
                assert change is not None
                assert interval.low <= interval.value == change.after <= interval.high
        widths.append(
            sum(c.forget_interval.high - c.forget_interval.low for c in cells if c.forget_interval)
        )
    assert widths[1] < widths[0] / 2


def test_one_instance_has_no_interval(digits: Any, evidence: Callable[..., Evidence]) -> None:
    one = list(digits.workload.instances("train").ids[:1])
    cells = audited(evidence(digits.workload, one, ["digit"]), digits.model()).cells
    assert all(cell.forget_interval is None for cell in cells)
    assert all(cell.validation_interval is not None for cell in cells)
