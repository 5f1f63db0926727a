import math
from dataclasses import replace
from typing import Any

import torch

from engine import evaluation
from engine.audit.halves import halves
from engine.methods.selection import Candidate, Look, Selector
from engine.problem import Problem

CPU = torch.device("cpu")
WEIGHTS = torch.zeros(2)


def candidate(score: float, *, harmless: bool = True, intact: bool = True) -> Candidate:
    return Candidate(score, met=False, harmless=harmless, intact=intact, weights=WEIGHTS)


def test_the_lower_score_is_kept_among_the_harmless() -> None:
    assert candidate(1.0).beats(candidate(2.0))
    assert not candidate(2.0).beats(candidate(1.0))


def test_weights_that_harm_the_retain_data_are_kept_only_where_all_do() -> None:
    assert candidate(9.0).beats(candidate(1.0, harmless=False))
    assert not candidate(1.0, harmless=False).beats(candidate(9.0))
    assert candidate(1.0, harmless=False).beats(candidate(math.inf, harmless=False))


def test_weights_that_were_taken_back_are_the_last_resort() -> None:
    taken_back = candidate(1.0, harmless=False, intact=False)
    assert candidate(9.0, harmless=False).beats(taken_back)
    assert taken_back.beats(candidate(math.inf, harmless=False, intact=False))


def test_few_people_say_little_where_their_records_share_their_luck(digits: Any) -> None:
    train, held_out = digits.workload.instances("train"), digits.workload.instances("val")
    forget = torch.zeros_like(train.supervision)
    forget[:40] = True
    everything = held_out.supervision
    losses = evaluation.losses(digits.workload, digits.model(), held_out, everything, CPU)
    places = losses.sum(1).argsort().argsort()
    lucky_and_unlucky = [f"person {8 * place // len(held_out)}" for place in places.tolist()]

    def look(subjects: list[str | None], held_out_subjects: list[str | None]) -> Look:
        given = Problem(
            workload=digits.workload,
            model=digits.model(),
            train=replace(train, subjects=subjects),
            retain=train.supervision & ~forget,
            forget=forget,
            earlier=torch.zeros_like(forget),
            calibration=halves(replace(held_out, subjects=held_out_subjects))[0],
            settings={},
            generator=torch.Generator().manual_seed(0),
            seed=0,
            device=CPU,
            progress=lambda *_: None,
        )
        return Selector(given).look()

    nobody: list[str | None] = [None] * len(train)
    assert not look(nobody, [None] * len(held_out)).met
    of_many = look(nobody, [*lucky_and_unlucky])
    of_one = look(["ann"] * len(train), [*lucky_and_unlucky])
    assert of_one.score < of_many.score - 1
