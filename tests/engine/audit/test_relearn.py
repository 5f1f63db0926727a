"""The probe on digits whose memory lies hidden behind a fresh last layer, and on strangers."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from engine.audit import Evidence, audit
from engine.audit.membership import auc
from engine.audit.relearn import STEPS, relearn
from engine.spec import AuditReport


@pytest.fixture
def case(digits: Any, evidence: Callable[..., Evidence]) -> Evidence:
    train = digits.workload.instances("train")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(1))
    return evidence(digits.workload, [train.ids[row] for row in order[:128]], ["digit"])


def with_a_fresh_last_layer(digits: Any, seed: int) -> nn.Module:
    """The parent as its losses have it forgotten, while its features remember."""
    version: nn.Module = digits.model()
    torch.manual_seed(seed)
    fresh = digits.workload.build_model()
    version.heads.load_state_dict(fresh.heads.state_dict())  # type: ignore[union-attr]
    return version


def audited(case: Evidence, parent: nn.Module, version: nn.Module) -> AuditReport:
    return audit(case, parent, version, lambda *_: None)


def test_the_steps_are_on_a_copy_and_always_the_same(case: Evidence, digits: Any) -> None:
    model = digits.model()
    before = copy.deepcopy(model.state_dict())
    first, second = relearn(case, model), relearn(case, model)
    assert first is not None
    assert second is not None
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert torch.equal(first.forgotten_losses.nan_to_num(), second.forgotten_losses.nan_to_num())
    assert (len(first.forgotten), len(first.held_out)) == (128, 128)
    assert int(first.forgotten_losses.isfinite().sum()) == 128, "one task was to be forgotten"
    assert bool(case.requests[0].cells[first.forgotten, 0].all())


def test_the_steps_teach_both_sides(case: Evidence, digits: Any) -> None:
    cells = audited(case, digits.model(), digits.model()).cells
    found = next(cell.relearning for cell in cells if cell.task == "digit")
    assert found is not None
    assert found.steps == STEPS
    assert found.held_out.after < found.held_out.before
    assert found.auc_after.low <= found.auc_after.value <= found.auc_after.high
    assert all(cell.relearning is None for cell in cells if cell.task != "digit")


def test_memory_that_lay_hidden_shows(digits: Any, evidence: Callable[..., Evidence]) -> None:
    train = digits.workload.instances("train")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(1))
    ids = [train.ids[row] for row in order[:128]]
    case = evidence(digits.workload, ids, list(digits.workload.tasks))
    rises = []
    for seed in range(4):
        cells = audited(case, digits.model(), with_a_fresh_last_layer(digits, seed)).cells
        rises += [
            cell.relearning.auc_after.value - cell.relearning.auc_before.value
            for cell in cells
            if cell.relearning is not None
        ]
    assert len(rises) == 12
    assert sum(rises) / len(rises) > 0.04


def test_strangers_come_back_no_sooner_than_strangers(case: Evidence, digits: Any) -> None:
    torch.manual_seed(3)
    fresh = digits.workload.build_model()
    probe = relearn(case, fresh)
    assert probe is not None
    found = auc(
        probe.forgotten_losses[probe.forgotten, 0], probe.held_out_losses[probe.held_out, 0]
    )
    assert found == pytest.approx(0.5, abs=0.12)


def test_too_few_instances_are_not_probed(digits: Any, evidence: Callable[..., Evidence]) -> None:
    few = evidence(digits.workload, list(digits.workload.instances("train").ids[:9]), ["digit"])
    assert relearn(few, digits.model()) is None
    report = audited(few, digits.model(), digits.model())
    assert all(cell.relearning is None for cell in report.cells)


def test_a_probe_that_diverges_tells_nothing(case: Evidence, digits: Any) -> None:
    broken = digits.model()
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    assert relearn(case, broken) is None
