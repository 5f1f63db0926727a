from dataclasses import replace
from pathlib import Path

import torch
from pydantic import JsonValue

from benchmarks.unlearning.bench import Bench, Choice, set_up
from benchmarks.unlearning.cases import draw
from benchmarks.unlearning.contestants import trials
from benchmarks.unlearning.controls import controls, false_failures
from benchmarks.unlearning.forget_sets import parse
from benchmarks.unlearning.original import keep, memorisation
from benchmarks.unlearning.runs import reference, run
from benchmarks.unlearning.step_cost import step_cost


def test_a_tuned_baseline_has_a_row_at_its_own_stop_and_one_at_the_best_step(bench: Bench) -> None:
    case = draw(bench, "partial", parse("random:0.05"), 0)
    own, oracle = run(case, "neggrad_plus", 2, lambda: case)
    assert (own.stop, oracle.stop) == ("own", "oracle")
    assert own.error is None
    assert own.settings in trials("neggrad_plus", 2)
    assert set(own.metrics) == {"digit", "parity", "magnitude"}
    assert set(own.auc) == {"digit"}
    assert own.uis is not None
    assert oracle.uis is not None
    assert oracle.uis <= own.uis + 1e-6
    assert own.uis_minus_retrain is not None
    assert own.gradients


def test_depth_and_normals_have_further_metrics_in_their_rows(tmp_path: Path) -> None:
    options: dict[str, JsonValue] = {"size": 20, "resolution": 16, "width": 8, "epochs": 1}
    rooms = set_up(Choice("scenes", "scenes", options), torch.device("cpu"), tmp_path)
    case = draw(rooms, "full", parse("random:0.1"), 0)
    (original,) = run(case, "original", 1, lambda: case)
    assert set(original.metrics) == {"segmentation", "depth", "normals"}
    assert {t: list(found) for t, found in original.extra_metrics.items()} == {
        "depth": ["delta1"], "normals": ["a11.25", "a30"],
    }  # fmt: skip
    delta = original.extra_metrics["depth"]["delta1"]
    for share in (delta.forget, delta.retain, delta.val, delta.test):
        assert share is not None
        assert 0 <= share <= 1


def test_retraining_is_its_own_measure_and_the_original_is_no_cost(bench: Bench) -> None:
    case = draw(bench, "full", parse("random:0.05"), 0)
    (retrain,) = run(case, "retrain", 2, lambda: case)
    (original,) = run(case, "original", 2, lambda: case)
    assert (retrain.uis_minus_retrain, retrain.share_of_retraining) == (0.0, 1.0)
    assert (original.gradients, original.kept["digit"]) == (0, 1.0)
    assert original.verdict == "fail"


def test_seconds_of_one_clock_are_no_share_of_another_clocks(bench: Bench) -> None:
    case = draw(bench, "full", parse("random:0.05"), 0)
    model, cost = reference(case)
    assert cost.clock == "processor"
    (ours,) = run(case, "interference_aware", 1, lambda: case)
    assert (ours.clock, ours.share_of_retraining is None) == ("processor", False)
    folder = bench.cache / "seed-0" / "retrain" / "full-random-0.05"
    keep(folder, model, replace(cost, clock="wall"))
    (ours,) = run(case, "interference_aware", 1, lambda: case)
    assert ours.share_of_retraining is None


def test_requests_in_a_row_have_a_row_each_and_what_is_forgotten_adds_up(bench: Bench) -> None:
    case = draw(bench, "full", parse("sequence:2:0.01"), 0)
    first, second = run(case, "finetune", 1, lambda: case)
    assert (first.request, second.request) == (1, 2)
    assert (first.uis_minus_retrain is None, second.uis_minus_retrain is None) == (True, False)
    assert second.ratio == 2 * first.ratio
    assert second.first_verdict in ("pass", "fail", "inconclusive")


def test_a_failed_run_is_a_row_with_its_sentence(bench: Bench) -> None:
    case = draw(bench, "full", parse("random:0.04"), 0)
    everything = case.bench.train.supervision
    hopeless = type(case)(bench, "full", case.forget_set, 0, [everything], case.original)
    (row,) = run(hopeless, "retrain", 1, lambda: hopeless)
    assert row.error == "no supervised instance is left to train on"
    assert row.uis is None


def test_memorisation_is_higher_where_a_label_is_wrong(bench: Bench) -> None:
    scores = memorisation(bench, 0)
    assert scores.shape == (700,)
    assert bool(scores.isfinite().all())
    assert float(scores.median()) >= 0


def test_a_copy_and_a_ruined_network_fail(bench: Bench) -> None:
    found = controls(bench, "full", 0)
    assert (found.copied, found.ruined) == ("fail", "fail")


def test_strangers_are_rarely_failed(bench: Bench) -> None:
    found = false_failures(bench, 5)
    assert found.draws == 5
    assert found.failed <= 1


def test_a_step_costs_something(bench: Bench) -> None:
    cost = step_cost(bench, "full")
    assert cost.seconds > 0
    assert cost.plain_seconds > 0
    assert torch.get_num_threads() == 1
