import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from engine import planner
from engine.load import load_of
from engine.manifest import Cells
from engine.methods.baseline import BaselineSettings
from engine.methods.settings import Settings
from engine.planner import Effort, Training
from engine.registry import load_method
from engine.spec import JobLoad, Thresholds
from tiny_workload import TinyMaps, maps_workload, problem

METHODS = ["interference_aware", "neggrad_plus", "finetune", "gradient_ascent", "ssd", "bought"]


def load(forget: int = 70, earlier: int = 0, instances: int = 700, kept: int = 0) -> JobLoad:
    """A full-task job on `instances`, `kept` of the forgotten of which go on teaching."""
    retained = instances - forget - earlier + kept
    return JobLoad(instances=instances, forget=forget, earlier=earlier, retained=retained)


def evaluations(method: str, job: JobLoad, **settings: JsonValue) -> float:
    planned = planner.effort(method, job, settings, 60)
    assert planned is not None
    return planned.gradient_evaluations


def test_retraining_passes_the_retained_instances_once_an_epoch_and_is_audited() -> None:
    audit = 2 * 700 / 3
    assert planner.retraining(load(70), 60) == Effort(37_800, pytest.approx(37_800 + audit))
    assert planner.effort("retrain", load(70), {}, 60) == planner.retraining(load(70), 60)
    assert planner.retraining(load(70, earlier=30, kept=20), 60) == Effort(
        37_200, pytest.approx(37_200 + audit)
    )
    rewound = planner.effort("rewind", load(70), {}, 60)
    assert rewound == Effort(18_900, pytest.approx(18_900 + audit))


def test_steps_a_round_follow_the_forget_instances_from_sixty_on() -> None:
    # 3 x 70 steps, each of 20 to forget and 64 retained; the mask before them reads 70 and 384.
    ours: dict[str, JsonValue] = {
        "steps_per_instance": 3,
        "min_steps": 60,
        "forget_batch": 20,
        "retain_batch": 64,
        "mask_share": 0.5,
    }
    assert evaluations("interference_aware", load(70), **ours) == 210 * 84 + 70 + 384
    assert evaluations("interference_aware", load(5), **ours) == 60 * (5 + 64) + 5 + 384
    assert evaluations("interference_aware", load(70), **{**ours, "mask_share": 1}) == 210 * 84
    assert evaluations("neggrad_plus", load(70)) == 210 * 84
    assert evaluations("finetune", load(70)) == 210 * 64
    assert evaluations("gradient_ascent", load(70)) == 210 * 20
    assert evaluations("ssd", load(70)) == 70 + 700


def test_what_was_forgotten_earlier_is_a_batch_of_its_own_in_every_step() -> None:
    assert evaluations("neggrad_plus", load(70, earlier=8)) == 210 * (84 + 8)
    assert evaluations("neggrad_plus", load(70, earlier=500)) == 210 * (84 + 20)


def test_settings_change_the_schedule_and_what_is_no_number_does_not() -> None:
    assert evaluations("neggrad_plus", load(70), min_steps=300, retain_batch=10) == 300 * 30
    assert evaluations("neggrad_plus", load(70), steps_per_instance=1.5) == 105 * 84
    assert evaluations("neggrad_plus", load(70), min_steps="many", repair=[2]) == 210 * 84
    assert evaluations("finetune", load(70), forget_batch=50) == 210 * 64


def test_the_constants_are_the_methods_own_defaults() -> None:
    names = ("steps_per_instance", "min_steps", "forget_batch", "retain_batch")
    for method, settings in {
        "interference_aware": Settings(),
        "neggrad_plus": BaselineSettings(),
    }.items():
        schedule = planner.schedule(method, {})
        assert {n: getattr(schedule, n) for n in names} == {n: getattr(settings, n) for n in names}


@pytest.mark.parametrize("method", ["neggrad_plus", "finetune", "gradient_ascent", "orthograd"])
def test_a_real_run_takes_what_was_planned(method: str) -> None:
    workload = maps_workload()
    forget = torch.zeros(12, 3, dtype=torch.bool)
    forget[:3] = True
    settings: dict[str, JsonValue] = {"min_steps": 4, "steps_per_instance": 2, "retain_batch": 8}
    job = problem(workload, TinyMaps(), forget, settings)
    size = load_of(Cells(job.retain, job.forget, job.earlier, ()), Thresholds())
    planned = planner.effort(method, size, settings, None)
    assert planned is not None
    assert load_method(method)(job).gradient_evaluations == planned.gradient_evaluations


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(0, 2000), st.integers(1, 500), st.integers(0, 100), st.booleans())
def test_more_to_forget_never_costs_less(
    method: str, forget: int, more: int, earlier: int, partial: bool
) -> None:
    sizes = [
        load(count, earlier, instances=3000, kept=count if partial else 0)
        for count in (forget, forget + more)
    ]
    less, all_of_it = (planner.effort(method, size, {}, 60) for size in sizes)
    assert less is not None
    assert all_of_it is not None
    assert less.time <= all_of_it.time
    assert less.gradient_evaluations <= all_of_it.gradient_evaluations


def test_networks_that_the_audit_trains_take_time_whatever_the_method() -> None:
    plain, audited = load(70), load(70).model_copy(update={"audit_trainings": 2})
    for method in (*METHODS, "retrain", "rewind"):
        less, more = planner.effort(method, plain, {}, 60), planner.effort(method, audited, {}, 60)
        assert less is not None
        assert more is not None
        assert more.gradient_evaluations == less.gradient_evaluations
        assert more.time == pytest.approx(less.time + 2 * 60 * 630)
    assert Thresholds().trainings == 0
    assert Thresholds(reference="retrained").trainings == 1
    assert Thresholds(reference="retrained", shadow_models=8).trainings == 8


def test_training_turns_effort_into_seconds() -> None:
    planned = Effort(gradient_evaluations=1000, time=2000)
    assert planner.prior_seconds(planned, load(), Training(50, 70.0)) == 2000 * 70 / (50 * 700)
    assert planner.prior_seconds(planned, load(), Training(None, 70.0)) is None
    assert planner.prior_seconds(planned, load(), Training(50, None)) is None
    assert planner.prior_seconds(None, load(), Training(50, 70.0)) is None


def test_without_epochs_retraining_is_not_guessed() -> None:
    assert planner.retraining(load(), None) is None
    assert planner.effort("rewind", load(), {}, None) is None
    assert planner.cheaper_to_retrain("neggrad_plus", load(350), {}, None) is None


def test_a_correction_is_the_median_and_says_how_far_off_it_may_be() -> None:
    none = planner.correction([])
    assert (none.value, none.low, none.high, none.jobs) == (1.0, 0.5, 3.0, 0)
    one = planner.correction([2.0])
    assert (one.value, one.low, one.high, one.jobs) == (2.0, 1.0, 6.0, 1)
    wide = planner.correction([0.1, 2.0, 9.0])
    assert (wide.value, wide.low, wide.high, wide.jobs) == (2.0, 0.1, 9.0, 3)
    many = planner.correction([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1000])
    assert (many.value, many.low, many.high, many.jobs) == (6, 2, 10, 11)


@pytest.mark.parametrize(("forget", "dearer"), [(1, False), (74, False), (75, True), (350, True)])
def test_retraining_is_proposed_above_the_crossing_point_and_not_below(
    forget: int, dearer: bool
) -> None:
    # 2 x 3 F x 84 = 60 x (700 - F) at F = 74.5.
    told = planner.cheaper_to_retrain("neggrad_plus", load(forget), {}, 60)
    assert (told is not None) == dearer


def test_the_proposal_says_by_how_much_and_names_the_method() -> None:
    told = planner.cheaper_to_retrain("neggrad_plus", load(350), {}, 60)
    # (2 x 1050 x 84 + 2 x 700 / 3) / (60 x 350 + 2 x 700 / 3) = 8.2
    assert told is not None
    assert "8.2 times" in told
    assert "'retrain'" in told
    assert planner.cheaper_to_retrain("retrain", load(350), {}, 60) is None


def test_the_planner_needs_no_torch() -> None:
    code = "import sys, engine.planner; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
