import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import evaluation
from engine.audit.halves import halves
from engine.audit.membership import auc
from engine.errors import Diverged, InvalidSpec
from engine.methods.interference_aware import unlearn
from engine.problem import Problem
from engine.saved_state import SavedState

CPU = torch.device("cpu")
TASKS = ["digit", "parity", "magnitude"]


def problem(digits: Any, tasks: list[str], *, earlier: bool = False, **changes: Any) -> Problem:
    """To forget 40 instances for `tasks`; `earlier` marks 40 more as forgotten before."""
    train = digits.workload.instances("train")
    rows = random.Random(1).sample(range(len(train)), 80)
    forget = torch.zeros_like(train.supervision)
    forgotten = torch.zeros_like(train.supervision)
    for task in tasks:
        forget[rows[:40], TASKS.index(task)] = True
        forgotten[rows[40:], TASKS.index(task)] = earlier
    values: dict[str, Any] = {
        "workload": digits.workload,
        "model": digits.model(),
        "train": train,
        "retain": train.supervision & ~forget & ~forgotten,
        "forget": forget,
        "earlier": forgotten,
        "calibration": halves(digits.workload.instances("val"))[0],
        "settings": {"rounds": 1},
        "generator": torch.Generator().manual_seed(0),
        "seed": 0,
        "device": CPU,
        "progress": lambda *_: None,
    }
    return Problem(**{**values, **changes})


def aucs(given: Problem, cells: Tensor) -> list[float]:
    """Of the cells of each task, against the calibrating half."""
    held_out = given.calibration
    strangers = evaluation.losses(given.workload, given.model, held_out, held_out.supervision, CPU)
    losses = evaluation.losses(given.workload, given.model, given.train, cells, CPU)
    return [
        auc(losses[cells[:, column], column], strangers[:, column])
        for column in range(3)
        if bool(cells[:, column].any())
    ]


def test_forgotten_instances_come_to_look_like_held_out_ones_and_the_rest_stays(
    digits: Any,
) -> None:
    given = problem(digits, TASKS)
    before = aucs(given, given.forget)
    outcome = unlearn(given)
    after = aucs(given, given.forget)
    assert max(after) < 0.65 < min(before)
    assert min(after) > 0.4
    (retain,) = evaluation.metrics(given.workload, given.model, given.train, [given.retain], CPU)
    assert min(value for value in retain if value is not None) > 0.95
    assert outcome.gradient_evaluations > 0
    assert set(outcome.settings) >= {"learning_rate", "multipliers", "rounds_taken"}


@pytest.mark.parametrize(
    "settings",
    [
        {"projection": "complement"},
        {"projection": "none"},
        {"metric": "none", "mask_share": 0.5},
    ],
)
def test_a_partial_request_leaves_the_other_tasks_of_its_instances_alone(
    digits: Any, settings: dict[str, Any]
) -> None:
    given = problem(digits, ["digit"], settings={"rounds": 1, **settings})
    unlearn(given)
    own = given.retain & given.forget.any(1, keepdim=True)
    ((digit, parity, magnitude),) = evaluation.metrics(
        given.workload, given.model, given.train, [own], CPU
    )
    assert digit is None
    assert parity is not None
    assert parity > 0.95
    assert magnitude is not None
    assert magnitude > 0.95
    assert aucs(given, given.forget)[0] < 0.65


def test_what_was_forgotten_earlier_is_pulled_to_its_target_as_well(digits: Any) -> None:
    given = problem(digits, TASKS, earlier=True)
    unlearn(given)
    assert max(aucs(given, given.earlier)) < 0.65


def test_the_parent_is_never_the_answer_however_little_it_remembers(digits: Any) -> None:
    given = problem(digits, TASKS)
    unlearn(given)
    parent = {name: weight.clone() for name, weight in given.model.state_dict().items()}
    # A few long steps: on what looks forgotten already they can only make it worse.
    hasty = {"rounds": 1, "min_steps": 4, "steps_per_instance": 0.1, "learning_rate": 0.1}
    unlearn(problem(digits, TASKS, model=given.model, settings=hasty))
    assert any(not torch.equal(w, parent[n]) for n, w in given.model.state_dict().items())


def test_nothing_to_calibrate_on_is_said(digits: Any) -> None:
    calibration, _ = halves(digits.workload.instances("val"))
    empty = type(calibration)(calibration.whole, calibration.positions[:0])
    with pytest.raises(InvalidSpec, match="'digit' has no held-out instance to calibrate on"):
        unlearn(problem(digits, TASKS, calibration=empty))


def test_weights_that_are_not_numbers_are_reported_as_divergence(digits: Any) -> None:
    given = problem(digits, TASKS)
    with torch.no_grad():
        next(given.model.parameters())[0] = torch.nan
    with pytest.raises(Diverged, match="NaN or infinite"):
        unlearn(given)


def test_a_step_that_is_far_too_long_is_rolled_back_and_shortened(digits: Any) -> None:
    given = problem(digits, TASKS, settings={"rounds": 1, "learning_rate": 0.5})
    outcome = unlearn(given)
    assert outcome.settings["rollbacks"]
    assert float(str(outcome.settings["final_learning_rate"])) < 0.5
    (retain,) = evaluation.metrics(given.workload, given.model, given.train, [given.retain], CPU)
    assert min(value for value in retain if value is not None) > 0.8


class Killed(Exception):
    """What ends an attempt in the middle."""


@pytest.mark.parametrize("tasks", [TASKS, ["digit"]])
def test_an_attempt_that_was_cut_off_is_gone_on_from_to_the_same_weights(
    digits: Any, tasks: list[str], tmp_path: Path
) -> None:
    settings = {"rounds": 2, "min_steps": 40, "learning_rate": 0.02}
    whole = problem(digits, tasks, settings=settings)
    expected = unlearn(whole)

    def cut_off(step: int, of: int) -> None:
        if step == 37:
            raise Killed

    def state() -> SavedState:
        return SavedState(tmp_path / "state.safetensors", "job", every=20)

    with pytest.raises(Killed):
        unlearn(problem(digits, tasks, settings=settings, saved_state=state(), progress=cut_off))
    again = problem(digits, tasks, settings=settings, saved_state=state())
    found = unlearn(again)
    assert found.settings["resumed_at_step"] == 20
    assert found.settings == expected.settings | {"resumed_at_step": 20}
    assert found.gradient_evaluations == expected.gradient_evaluations
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name


def test_half_precision_passes_forget_as_well(digits: Any) -> None:
    given = problem(digits, TASKS, precision="bfloat16")
    unlearn(given)
    assert min(aucs(given, given.forget)) > 0.4
    assert max(aucs(given, given.forget)) < 0.65
    assert all(weight.dtype == torch.float32 for weight in given.model.parameters())


def test_retain_gradients_that_are_read_from_a_file_lead_to_the_same_weights(digits: Any) -> None:
    few = {"rounds": 1, "min_steps": 6, "steps_per_instance": 0.1, "change_bits": None}
    found = []
    for row_bytes in (2**31, 0):
        given = problem(digits, ["digit"], settings={"row_bytes": row_bytes, **few})
        unlearn(given)
        found.append([weight.detach() for weight in given.model.parameters()])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)
