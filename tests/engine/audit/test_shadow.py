import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.audit import Evidence, audit
from engine.audit.membership import auc
from engine.audit.shadow import distance, likelihood_scores, train_shadows
from engine.registry import load_workload

silent = lambda *_: None  # noqa: E731


def test_one_shadow_gives_the_difference_of_the_logits() -> None:
    losses, shadow = torch.tensor([0.1, 2.0]), torch.tensor([[1.0, 2.0]])
    scores = likelihood_scores(losses, shadow)
    assert scores[0] == pytest.approx(math.log(math.expm1(0.1)) - math.log(math.expm1(1.0)))
    assert scores[1] == 0


def test_an_instances_own_spread_counts_the_more_the_more_shadows_there_are() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 2, generator=random) * torch.tensor([0.5, 2.0])
    losses = torch.nn.functional.softplus(logits)  # phi(softplus(x)) is x
    scores = likelihood_scores(torch.nn.functional.softplus(torch.tensor([-2.0, -2.0])), losses)
    deviations = logits.double().var(0)
    variance = (63 * deviations + 8 * deviations.mean()) / 71
    expected = (-2.0 - logits.double().mean(0)) / variance.sqrt()
    assert scores.tolist() == pytest.approx(expected.tolist(), rel=1e-3)
    assert abs(scores[0]) > 2 * abs(scores[1])


def test_a_loss_of_zero_and_a_negative_loss_have_finite_scores() -> None:
    for losses in ([0.0, 3.0], [-1.0, 3.0]):
        found = likelihood_scores(torch.tensor(losses), torch.tensor([losses, losses]))
        assert found.isfinite().all()


def test_distance_is_zero_from_itself_and_symmetric_in_sign() -> None:
    losses = torch.tensor([1.0, 2.0])
    assert distance(losses, losses[None]) == 0
    assert distance(losses, torch.tensor([[2.0, 1.0], [0.0, 3.0]])) == 1


@pytest.fixture(scope="module")
def small() -> Any:
    return load_workload("digits", {"hidden": 64, "epochs": 30})


@pytest.fixture(scope="module")
def parent(small: Any) -> Any:
    torch.manual_seed(0)
    model = small.build_model()
    train = small.instances("train")
    small.train(model, train, train.supervision, 0, silent)
    return model


def test_shadows_have_seen_neither_side_and_differ_from_each_other(
    small: Any, evidence: Callable[..., Evidence]
) -> None:
    train = small.instances("train")
    case = evidence(small, list(train.ids[:150]), ["digit"])
    state = torch.get_rng_state()
    shadows = train_shadows(case, 2, silent)
    assert shadows is not None
    assert torch.equal(torch.get_rng_state(), state), "the caller's randomness is left alone"
    own, others = shadows.forgotten[:, :150, 0], shadows.held_out[:, :, 0]
    assert int(shadows.forgotten.isfinite().sum()) == int(own.isfinite().sum()) == 300
    assert not torch.equal(own[0], own[1])
    assert auc(own[0], others[0]) == pytest.approx(0.5, abs=0.13)
    assert train_shadows(case, 0, silent) is None


def test_the_likelihood_ratio_sees_more_in_the_parent_than_the_loss_does(
    small: Any, parent: Any, evidence: Callable[..., Evidence]
) -> None:
    train = small.instances("train")
    ids = [train.ids[row] for row in range(0, 700, 5)]
    case = evidence(small, ids, list(small.tasks), shadow_models=3)
    torch.manual_seed(9)
    retrained = small.build_model()
    small.train(retrained, train, case.retain, 9, silent)
    report = audit(case, parent, retrained, silent)
    assert "likelihood-ratio attack with 3 shadow models" in report.notes[0]
    for cell in report.cells:
        assert cell.auc is not None
        assert cell.likelihood_ratio is not None
        assert cell.likelihood_ratio.before.value > cell.auc.before.value
        assert cell.likelihood_ratio.after.low <= 0.55
        assert cell.retrained_auc == pytest.approx(0.5, abs=0.13)
        assert cell.distance is not None
        assert cell.distance.after < cell.distance.before


def test_the_retrained_reference_is_named_and_trains_one_network(
    small: Any, parent: Any, evidence: Callable[..., Evidence]
) -> None:
    ids = list(small.instances("train").ids[:100])
    case = evidence(small, ids, ["digit"], reference="retrained")
    told: list[tuple[int, int]] = []
    report = audit(case, parent, parent, lambda step, of: told.append((step, of)))
    assert report.reference.endswith("; as 1 network retrained on the retain set")
    assert report.verdict == "fail"
    digit, parity, _ = report.cells
    assert digit.retrained_auc is not None
    assert digit.likelihood_ratio is None
    assert parity.retrained_auc is None
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
