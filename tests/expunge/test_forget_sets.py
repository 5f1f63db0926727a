from hypothesis import given
from hypothesis import strategies as st

from expunge.answers import ManifestEntry
from expunge.demo.forget_sets import choose


def entries(count: int, subjects: int | None) -> list[ManifestEntry]:
    return [
        ManifestEntry(
            id=f"i-{n}",
            subject=None if subjects is None else f"s-{n % subjects}",
            tasks=("digit", "parity") if n % 3 else ("parity",),
        )
        for n in range(count)
    ]


@given(count=st.integers(200, 3000), seed=st.integers(0, 99))
def test_instances_without_subjects_are_named_one_by_one(count: int, seed: int) -> None:
    full, partial = choose(entries(count, None), "digit", seed)
    assert 40 <= len(full.instances) <= max(40, 0.07 * count)
    assert not full.subjects
    assert full.tasks is None
    assert partial.tasks == ("digit",)
    assert not set(full.instances) & set(partial.instances)
    assert all(int(name[2:]) % 3 for name in partial.instances), "must have taught the task"


@given(seed=st.integers(0, 99))
def test_where_subjects_are_known_both_sets_are_made_of_whole_ones(seed: int) -> None:
    known = entries(1200, 30)
    full, partial = choose(known, "parity", seed)
    assert len(full.subjects) == 2
    assert not full.instances
    owners = {entry.id: entry.subject for entry in known}
    others = {owners[name] for name in partial.instances}
    assert len(partial.instances) == 80
    assert len(others) == 2
    assert not others & set(full.subjects)


def test_the_same_seed_chooses_the_same() -> None:
    assert choose(entries(500, 50), "digit", 3) == choose(entries(500, 50), "digit", 3)
    assert choose(entries(500, 50), "digit", 3) != choose(entries(500, 50), "digit", 4)


def test_a_small_data_set_is_not_emptied() -> None:
    full, _ = choose(entries(100, None), "digit", 0)
    assert len(full.instances) == 20
