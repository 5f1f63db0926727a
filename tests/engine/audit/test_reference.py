import numpy as np
import pytest
import torch

from engine.audit.reference import choose, subject_effect, subject_effect_bound

STRANGERS = [f"stranger-{position // 5}" for position in range(50)]
STAYING = frozenset({"anna", "ben"})
KNOWN = ["anna", "ben"] * 25


def test_whole_subjects_are_compared_with_unseen_subjects() -> None:
    reference = choose(["carl", "carl"], STAYING, STRANGERS + KNOWN, 20, None)
    assert reference.objection is None
    assert reference.chosen.tolist() == [True] * 50 + [False] * 50


def test_records_of_subjects_who_stay_are_compared_with_their_held_out_records() -> None:
    reference = choose(["anna", "ben"], STAYING, STRANGERS + KNOWN, 20, None)
    assert reference.objection is None
    assert reference.chosen.tolist() == [False] * 50 + [True] * 50


def test_strangers_are_no_reference_for_some_records_of_a_subject_who_stays() -> None:
    reference = choose(["anna", "carl"], STAYING, STRANGERS, 20, 0.4)
    assert reference.objection is not None
    assert "1 of 2 forgotten instances are records of subjects who stay" in reference.objection
    assert "40%" in reference.objection


def test_strangers_do_where_subjects_make_no_difference() -> None:
    reference = choose(["anna", "carl"], STAYING, STRANGERS, 20, 0.05)
    assert reference.objection is None
    assert int(reference.chosen.sum()) == 50


def test_without_subjects_all_held_out_instances_are_the_reference() -> None:
    reference = choose([None, None], frozenset(), [None] * 30, 20, None)
    assert reference.objection is None
    assert int(reference.chosen.sum()) == 30


@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_the_bound_on_the_subject_effect_is_above_it_but_not_far(effect: float) -> None:
    random = np.random.default_rng(0)
    shared = np.repeat(random.normal(size=60), 10) * effect**0.5
    losses = torch.from_numpy(shared + random.normal(size=600) * (1 - effect) ** 0.5)
    bound = subject_effect_bound(losses, [f"s{row // 10}" for row in range(600)])
    assert bound is not None
    assert effect * 0.9 <= bound <= effect + 0.2


def test_one_instance_a_subject_tells_nothing_of_their_effect() -> None:
    assert subject_effect_bound(torch.rand(5), list("abcde")) is None


def test_the_subject_effect_is_what_the_losses_were_made_with() -> None:
    generator = torch.Generator().manual_seed(0)
    subjects = [f"s{row // 10}" for row in range(2000)]
    alone = torch.randn(2000, generator=generator)
    shared = torch.randn(200, generator=generator).repeat_interleave(10)
    assert subject_effect(alone, subjects) < 0.03
    assert subject_effect(alone + shared, subjects) == pytest.approx(0.5, abs=0.08)
    assert subject_effect(shared, subjects) == pytest.approx(1.0, abs=0.01)
    assert subject_effect(torch.rand(5), list("abcde")) == 0
