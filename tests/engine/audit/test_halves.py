from engine.audit.halves import halves
from engine.workloads.digits import DigitsWorkload


def test_a_subject_is_never_in_both_halves_and_nobody_is_lost() -> None:
    held_out = DigitsWorkload().instances("val")
    first, second = halves(held_out)
    assert not set(first.subjects) & set(second.subjects)
    assert sorted([*first.ids, *second.ids]) == sorted(held_out.ids)
    assert abs(len(first) - len(second)) <= 10


def test_the_cut_is_always_the_same() -> None:
    one, other = (halves(DigitsWorkload().instances("val")) for _ in range(2))
    assert one[0].ids == other[0].ids


def test_a_half_gives_the_instances_of_the_whole() -> None:
    held_out = DigitsWorkload().instances("val")
    half, _ = halves(held_out)
    batch = half.batch(half.positions.new_tensor([0, 3]))
    whole = held_out.batch(half.positions[[0, 3]])
    assert batch.inputs.equal(whole.inputs)
    assert half.ids[3] == held_out.ids[int(half.positions[3])]
    assert half.digests[3] == held_out.digests[int(half.positions[3])]
    assert half.supervision.shape == (len(half), 3)
