import pytest
import torch
from torch import Tensor

from benchmarks.unlearning.bench import Bench
from benchmarks.unlearning.forget_sets import DEFAULT, NoForgetSet, parse

FULL = [True, True, True]
FIRST_TASK = [True, False, False]


def not_asked() -> Tensor:
    raise AssertionError("only a memorised forget set needs the scores")


def test_random_takes_the_share_of_instances_with_all_their_cells(bench: Bench) -> None:
    (cells,) = parse("random:0.1").draw(bench.train, FULL, 0, not_asked)
    assert int(cells.any(1).sum()) == 70
    assert torch.equal(cells.any(1), cells.all(1))


def test_a_partial_scope_takes_the_cells_of_its_tasks_alone(bench: Bench) -> None:
    (cells,) = parse("random:0.1").draw(bench.train, FIRST_TASK, 0, not_asked)
    assert cells.sum(0).tolist() == [70, 0, 0]


def test_a_seed_always_draws_the_same_and_another_one_draws_otherwise(bench: Bench) -> None:
    first, again, other = (
        parse("random:0.1").draw(bench.train, FULL, seed, not_asked)[0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_subject_is_taken_whole(bench: Bench) -> None:
    (cells,) = parse("subject").draw(bench.train, FULL, 3, not_asked)
    rows = cells.any(1).nonzero().squeeze(1).tolist()
    (name,) = {bench.train.subjects[row] for row in rows}
    assert len(rows) == list(bench.train.subjects).count(name)


def test_the_most_memorised_are_those_with_the_highest_scores(bench: Bench) -> None:
    scores = torch.arange(len(bench.train)).float()
    (cells,) = parse("memorised:0.01").draw(bench.train, FULL, 0, lambda: scores)
    assert cells.any(1).nonzero().squeeze(1).tolist() == list(range(693, 700))


def test_requests_in_a_row_share_no_cell(bench: Bench) -> None:
    steps = parse("sequence:10").draw(bench.train, FULL, 0, not_asked)
    assert [int(step.any(1).sum()) for step in steps] == [14] * 10
    assert int(torch.stack(steps).sum(0).max()) == 1


def test_every_default_has_a_meaning() -> None:
    assert [parse(name).kind for name in DEFAULT.split(",")][-3:] == [
        "subject",
        "memorised",
        "sequence",
    ]


@pytest.mark.parametrize("name", ["random", "random:2", "random:x", "subject:0", "oldest:0.1"])
def test_a_name_without_meaning_is_refused_with_the_forms_there_are(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*the forms are: random:SHARE"):
        parse(name)


def test_a_forget_set_of_everything_is_refused(bench: Bench) -> None:
    with pytest.raises(NoForgetSet, match=r"sequence:10:0\.1 asks for 700 of 700"):
        parse("sequence:10:0.1").draw(bench.train, FULL, 0, not_asked)
