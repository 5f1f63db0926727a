"""Replaying the training from an ancestor that never saw the forgotten cells."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.checkpoint import write_weights
from engine.errors import CheckpointError, InvalidSpec
from engine.methods.rewind import unlearn
from engine.problem import Problem
from engine.registry import load_method
from engine.workloads.digits import DigitsWorkload
from tiny_workload import linear_problem, problem


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _job(folder: Path, epochs: int = 6, **settings: int) -> tuple[Problem, nn.Module]:
    """Digits whose ancestor had an epoch without the first 100 rows; and the ancestor."""
    workload = DigitsWorkload(hidden=32, epochs=epochs)
    train = workload.instances("train")
    forget = torch.zeros_like(train.supervision)
    forget[:100] = True
    short = DigitsWorkload(hidden=32, epochs=1)
    torch.manual_seed(0)
    ancestor = short.build_model()
    short.train(ancestor, train, train.supervision & ~forget, 0, lambda *_: None)
    parent = workload.build_model()
    parent.load_state_dict(ancestor.state_dict())
    workload.train(parent, train, train.supervision, 1, lambda *_: None)
    path = write_weights(ancestor.state_dict(), folder / "ancestor").path
    return replace(problem(workload, parent, forget, settings), ancestor=path), ancestor


def test_the_recipe_is_replayed_from_the_ancestor_on_the_retain_cells(tmp_path: Path) -> None:
    job, ancestor = _job(tmp_path, looks=1)
    outcome = unlearn(job)
    job.workload.train(ancestor, job.train, job.retain, job.seed, lambda *_: None)
    assert outcome.settings["ended_early"] is False
    assert outcome.gradient_evaluations == 6 * 600
    assert outcome.settings["share_of_recipe"] == 1
    for name, value in ancestor.state_dict().items():
        assert torch.equal(job.model.state_dict()[name], value)
    assert not job.model.training


def test_it_ends_when_held_out_data_stop_gaining(tmp_path: Path) -> None:
    job, _ = _job(tmp_path, epochs=40, looks=40, patience=2)
    steps: list[int] = []
    outcome = unlearn(replace(job, progress=lambda step, of: steps.append(step)))
    assert outcome.settings["ended_early"] is True
    share = outcome.settings["share_of_recipe"]
    assert isinstance(share, float)
    assert 0 < share < 1
    # Two looks beyond the best one, an epoch each.
    assert outcome.gradient_evaluations == round(share * 40 + 2) * 600
    assert not job.model.training


def test_without_an_ancestor_it_says_what_to_do() -> None:
    with pytest.raises(InvalidSpec, match=r"rewind needs an ancestor .* 'retrain'"):
        unlearn(linear_problem("both", {}))


def test_an_ancestor_of_another_network_is_refused(tmp_path: Path) -> None:
    other = write_weights({"other": torch.zeros(1)}, tmp_path / "ancestor.safetensors").path
    job = replace(linear_problem("both", {}), ancestor=other)
    with pytest.raises(CheckpointError, match=r"tensor 'linear\.weight' is missing"):
        unlearn(job)


def test_it_is_installed_under_its_name_and_knows_its_settings() -> None:
    assert load_method("rewind") is unlearn
    with pytest.raises(InvalidSpec, match="unknown setting 'epochs'"):
        unlearn(linear_problem("both", {"epochs": 3}))
