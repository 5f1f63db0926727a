import pytest
import torch

from engine.methods.repair import Repair

PARENT = torch.tensor([1.0, 2.0])


def test_repair_grows_while_retain_data_are_harmed_and_falls_back_after() -> None:
    repair = Repair(2.0, 2.0)
    repair.adapt(0.9, 3 * PARENT, PARENT)
    assert repair.now == pytest.approx(2.6)
    assert repair.growth == pytest.approx(1.3)
    repair.adapt(0.985, PARENT, PARENT)
    assert repair.now == pytest.approx(2.0)


def test_the_most_repair_is_sixteen_times_the_least_and_then_forgetting_has_to_give_way() -> None:
    repair = Repair(2.0, 2.0)
    spent = [repair.adapt(0.9, 3 * PARENT, PARENT) for _ in range(12)]
    assert repair.now == 32
    assert spent == [False] * 11 + [True]
    assert not repair.adapt(0.98, PARENT, PARENT)


def test_what_the_retain_data_gain_fades_repair_by_the_task_that_gains_least() -> None:
    repair = Repair(2.0, 2.0)
    repair.adapt(1.0, PARENT * torch.tensor([0.5, 0.95]), PARENT)
    assert repair.now == pytest.approx(1.0)
    repair.adapt(1.0, PARENT * torch.tensor([0.5, 0.8]), PARENT)
    assert repair.now == 0
    repair.adapt(1.0, PARENT * torch.tensor([0.5, 1.01]), PARENT)
    assert repair.now == 2


def test_quality_that_is_lost_is_repaired_although_the_loss_fell() -> None:
    repair = Repair(2.0, 2.0)
    repair.adapt(0.985, PARENT / 2, PARENT)
    assert repair.now == 2


def test_a_task_that_the_retain_probe_lacks_has_no_say() -> None:
    repair = Repair(2.0, 2.0)
    repair.adapt(1.0, torch.tensor([0.95, torch.nan]), torch.tensor([1.0, torch.nan]))
    assert repair.now == pytest.approx(1.0)


def test_no_repair_at_all_stays_none_and_asks_nothing_of_forgetting() -> None:
    repair = Repair(0.0, 0.0)
    assert not repair.adapt(0.5, PARENT, PARENT)
    repair.redouble()
    assert repair.now == 0
    assert repair.growth == 1
