"""What all baselines have in common, on the tiny linear workload and on one with maps."""

from importlib import import_module

import pytest
import torch
from torch import nn

from engine.errors import Diverged, InvalidSpec
from engine.problem import Method, Outcome
from tiny_workload import linear_problem, maps_workload, problem, weight

BASELINES = [
    "bad_teacher",
    "finetune",
    "gradient_ascent",
    "interference_aware_paper",
    "l1_sparse",
    "neggrad_plus",
    "orthograd",
    "pcgrad_unlearn",
    "random_label",
    "salun",
    "scrub",
    "ssd",
]
SHORT = {"min_steps": 4, "steps_per_instance": 1e-9, "check_every": 2, "learning_rate": 0.01}


def method(name: str) -> Method:
    unlearn: Method = import_module(f"engine.methods.{name}").unlearn
    return unlearn


def settings(name: str) -> dict[str, float]:
    return {"alpha": 1.0} if name == "ssd" else dict(SHORT)


def on_maps(name: str, scope: str) -> tuple[nn.Module, nn.Module, Outcome]:
    """The parent, the unlearned network and the outcome of a job on `maps_workload`."""
    workload = maps_workload()
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(workload.build_model().train())
    forget = torch.zeros(12, 3, dtype=torch.bool)
    forget[:3] = True
    if scope == "partial":
        forget[:3, 1:] = False
        forget[3, 1] = True  # a union of two requests, each for another task
    earlier = torch.zeros_like(forget)
    earlier[11] = True
    job = problem(workload, models[1], forget, settings(name), earlier=earlier)
    return models[0], models[1], method(name)(job)


@pytest.mark.parametrize("scope", ["full", "partial"])
@pytest.mark.parametrize("name", BASELINES)
def test_labels_maps_and_numbers_are_unlearned_with_batchnorm_in_eval_mode(name: str, scope: str):
    parent, model, outcome = on_maps(name, scope)
    assert not any(module.training for module in model.modules())
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
    assert any(
        not torch.equal(a, b) for a, b in zip(parent.parameters(), model.parameters(), strict=True)
    )
    assert outcome.gradient_evaluations > 0
    assert outcome.notes == ("BatchNorm statistics were re-estimated on retain data.",)


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_seed_gives_the_same_bytes(name: str):
    torch.manual_seed(1)
    _, first, _ = on_maps(name, "full")
    torch.manual_seed(2)
    _, second, _ = on_maps(name, "full")
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", BASELINES)
def test_cells_forgotten_earlier_teach_nothing(name: str):
    last_look = {**SHORT, "check_every": 4}
    results = []
    for target in (5.0, -50.0):
        job = linear_problem(
            "both", settings(name) if name == "ssd" else last_look, earlier_target=target
        )
        method(name)(job)
        results.append(weight(job))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", BASELINES)
def test_a_parent_that_is_not_finite_ends_with_a_sentence(name: str):
    job = linear_problem("both", settings(name))
    with torch.no_grad():
        next(job.model.parameters())[0, 0] = torch.nan
    with pytest.raises(Diverged, match="became NaN or infinite"):
        method(name)(job)


@pytest.mark.parametrize("name", BASELINES)
def test_an_unknown_setting_is_refused(name: str):
    with pytest.raises(InvalidSpec, match="unknown setting 'temperature'; the settings are: "):
        method(name)(linear_problem("both", {"temperature": 4}))


def test_a_setting_out_of_range_is_named():
    with pytest.raises(InvalidSpec, match="setting 'learning_rate' cannot be -1"):
        method("finetune")(linear_problem("both", {"learning_rate": -1}))


def test_the_weights_of_the_best_look_are_kept():
    # Held-out data ask for about (1, .5, .5); a long ascent at the end is worse than its start.
    job = linear_problem("both", {**SHORT, "optimizer": "sgd", "min_steps": 40})
    outcome = method("gradient_ascent")(job)
    assert outcome.settings["steps"] == 40
    assert outcome.settings["stopped_at"] == 2


def test_steps_follow_the_forget_set_and_progress_is_told():
    seen = []
    job = linear_problem("both", {"min_steps": 1, "steps_per_instance": 20.0})
    object.__setattr__(job, "progress", lambda step, of: seen.append((step, of)))
    method("finetune")(job)
    assert seen == [(10, 20), (20, 20)]
