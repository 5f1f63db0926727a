import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.audit import Evidence, audit
from engine.spec import AuditReport

Make = Callable[..., Evidence]


@pytest.fixture
def case(digits: Any, evidence: Make) -> Evidence:
    """Thirty instances to forget now; another 300 were forgotten earlier for two tasks."""
    train = digits.workload.instances("train")
    now = evidence(digits.workload, list(train.ids[:30]), list(digits.workload.tasks))
    earlier = torch.zeros_like(now.retain)
    earlier[100:400, :2] = True
    return dataclasses.replace(now, retain=now.retain & ~earlier, earlier=earlier)


@pytest.fixture(scope="module")
def forgetful(digits: Any) -> Any:
    """A network that saw neither the thirty nor the earlier ones."""
    train = digits.workload.instances("train")
    supervision = train.supervision.clone()
    supervision[:30] = False
    supervision[100:400] = False
    torch.manual_seed(4)
    model = digits.workload.build_model()
    digits.workload.train(model, train, supervision, 4, lambda *_: None)
    return model


def audited(case: Evidence, before: Any, after: Any) -> AuditReport:
    return audit(case, before, after, lambda *_: None)


def test_a_sample_of_them_is_drawn_by_their_ids_alone(case: Evidence) -> None:
    sample = case.earlier_sample()
    assert sample.sum(0).tolist() == [200, 200, 0]
    assert case.earlier is not None
    assert not bool((sample & ~case.earlier).any())
    assert torch.equal(sample, dataclasses.replace(case, seed=9).earlier_sample())
    assert int(dataclasses.replace(case, earlier=None).earlier_sample().sum()) == 0


def test_those_still_forgotten_pass(case: Evidence, forgetful: Any) -> None:
    version = copy.deepcopy(forgetful)
    with torch.no_grad():
        next(version.parameters()).mul_(1 + 1e-6)
    report = audited(case, forgetful, version)
    assert [(found.task, found.instances) for found in report.earlier] == [
        ("digit", 200),
        ("parity", 200),
    ]
    assert {found.verdict for found in report.earlier} == {"pass"}
    assert not any("earlier" in note for note in report.notes)


def test_those_that_come_back_fail_the_whole_audit(
    case: Evidence, digits: Any, forgetful: Any
) -> None:
    report = audited(case, forgetful, digits.model())
    assert {found.verdict for found in report.earlier} == {"fail"}
    assert all("they have come back" in found.reason for found in report.earlier)
    assert report.verdict == "fail"
    assert any("forgotten earlier for task 'digit'" in note for note in report.notes)


def test_what_the_parent_remembered_already_is_told_and_does_not_count(
    case: Evidence, digits: Any
) -> None:
    version = digits.model()
    with torch.no_grad():
        next(version.parameters()).mul_(1 + 1e-6)
    report = audited(case, digits.model(), version)
    assert {found.verdict for found in report.earlier} == {"inconclusive"}
    assert all("as it did in the parent" in found.reason for found in report.earlier)


def test_without_earlier_requests_there_is_nothing_to_tell(digits: Any, evidence: Make) -> None:
    ids = list(digits.workload.instances("train").ids[:30])
    report = audited(evidence(digits.workload, ids, ["digit"]), digits.model(), digits.model())
    assert report.earlier == ()
