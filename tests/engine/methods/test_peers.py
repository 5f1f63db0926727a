from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch

from engine.methods.peers import Peers
from engine.problem import Problem

TRAIN = ["ann", "ann", "bob", "bob", "cid", None]


@dataclass(frozen=True)
class People:
    subjects: Sequence[str | None]


@dataclass(frozen=True)
class Asked:
    """What peers are found from: one task, all of whose cells stay but for those asked for."""

    forget: torch.Tensor
    calibration: People
    train: People = People(TRAIN)

    @property
    def retain(self) -> torch.Tensor:
        return ~self.forget

    @property
    def earlier(self) -> torch.Tensor:
        return torch.zeros_like(self.forget)


def peers(forgotten: list[int], held_out: list[str | None], unlabelled: int = 0) -> Any:
    forget = torch.zeros(len(TRAIN), 1, dtype=torch.bool)
    forget[forgotten] = True
    labelled = torch.arange(len(held_out)) >= unlabelled
    asked = cast(Problem, Asked(forget, People(held_out)))
    found = Peers.of(asked, 0, labelled)
    return [rows.tolist() for rows in found.leaving], [rows.tolist() for rows in found.unseen]


def test_a_subject_leaves_who_teaches_the_task_no_more() -> None:
    leaving, unseen = peers([0, 1, 2, 4, 5], ["eve", "fay", "eve", "fay"])
    assert leaving == [[0, 1], [4]]
    assert unseen == [[0, 2], [1, 3]]


def test_held_out_records_of_those_who_stay_or_without_a_label_are_no_reference() -> None:
    held_out = ["fay", "bob", "fay", "eve", "eve", "fay", None]
    leaving, unseen = peers([0, 1], held_out, unlabelled=1)
    assert leaving == [[0, 1]]
    assert unseen == [[2, 5], [3, 4]]


@pytest.mark.parametrize(
    "held_out",
    [
        pytest.param([None, None, None, None], id="nobody known"),
        pytest.param(["eve", "eve", "eve"], id="one person"),
        pytest.param(["eve", "fay", "gil", "gil"], id="mostly one record of each"),
    ],
)
def test_people_say_nothing_where_too_little_is_known_of_the_unseen(
    held_out: list[str | None],
) -> None:
    assert peers([0, 1], held_out) == ([], [])
