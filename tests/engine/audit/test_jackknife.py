import numpy as np
import pytest
import torch

from engine.audit.jackknife import interval, without_a_group


def test_a_cluster_is_never_split_and_each_is_left_out_once() -> None:
    clusters = [f"c{row // 3}" for row in range(60)]
    choices = without_a_group(clusters, 8)
    assert len(choices) == 8
    left_out = torch.stack([~choice for choice in choices]).int()
    assert left_out.sum(0).tolist() == [1] * 60
    for choice in choices:
        assert all(choice[row] == choice[row - row % 3] for row in range(60))


def test_fewer_than_two_clusters_have_no_groups() -> None:
    assert without_a_group(["a", "a"], 8) == []
    assert without_a_group([], 8) == []


def test_a_mean_gets_the_interval_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    names = [str(row) for row in range(1000)]
    parts = [float(values[choice.numpy()].mean()) for choice in without_a_group(names, 200)]
    found = interval(float(values.mean()), parts, 0.95)
    assert found is not None
    half = 1.97 * values.std(ddof=1) / 1000**0.5
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.15)


def test_what_is_not_defined_everywhere_has_no_interval() -> None:
    assert interval(None, [1.0, 1.0], 0.95) is None
    assert interval(1.0, [1.0, None], 0.95) is None
    assert interval(1.0, [], 0.95) is None
