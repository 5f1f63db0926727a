import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.methods.batches import Sampler


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 30))
def test_each_row_comes_once_before_any_comes_again(rows: int, size: int, draws: int) -> None:
    sampler = Sampler(torch.arange(100, 100 + rows), size, torch.Generator().manual_seed(0))
    counts = torch.zeros(rows, dtype=torch.int64)
    for _ in range(draws):
        drawn = sampler.draw() - 100
        assert len(drawn.unique()) == len(drawn) == min(size, rows)
        counts[drawn] += 1
        assert counts.max() - counts.min() <= 2
    assert counts.sum() == draws * min(size, rows)
