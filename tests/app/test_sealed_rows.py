"""What the ledger sealed of rows is found again, also where it does not fit into memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sealed_rows import SealedRows
from app.sealing import Seal

names = st.sampled_from(["jobs/a", "jobs/b", "jobs/c", "aliases/m/x", "instances/v"])
seals = st.dictionaries(
    st.sampled_from(["state", "due_at", "count"]), st.sampled_from(["1", "abc-_9"]), min_size=1
)


@given(
    st.lists(st.tuples(names, seals | st.none()), max_size=40),
    st.integers(1, 5),
    st.lists(names, unique=True),
)
def test_the_newest_digests_of_each_row_are_known_whatever_fits_into_memory(
    told: list[tuple[str, Seal | None]], at_once: int, asked: list[str]
) -> None:
    expected: dict[str, Seal] = {}
    with SealedRows(at_once) as sealed:
        for name, seal in told:
            sealed.learn(name, None if seal is None else dict(seal))
            if seal is None:
                expected.pop(name, None)
            else:
                expected[name] = expected.get(name, {}) | seal
        for name in asked:
            assert sealed.take(name) == expected.pop(name, None)
            assert sealed.take(name) is None
        assert dict(sealed.left()) == expected


def test_what_was_put_away_is_gone_with_the_context() -> None:
    with SealedRows(1) as sealed:
        sealed.learn("jobs/a", {"state": "1"})
        sealed.learn("jobs/b", {"state": "2"})
    with pytest.raises(Exception, match="closed"):
        sealed.take("jobs/a")
