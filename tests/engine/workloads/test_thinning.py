import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import label

from engine.workloads.thinning import Mask, thin

_masks = arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def _mask(*rows: str) -> Mask:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def test_a_bar_of_three_pixels_becomes_its_middle_line() -> None:
    thick = _mask(".........", ".#######.", ".#######.", ".#######.", ".........")
    thinned = thin(thick)
    assert thinned[2, 2:7].all()
    assert not thinned[[0, 1, 3, 4]].any()


def test_a_line_of_one_pixel_stays() -> None:
    line = _mask("#....", ".#...", "..###", ".....")
    assert np.array_equal(thin(line), line)


def test_a_ring_keeps_its_hole() -> None:
    ring = _mask("#####", "#####", "##.##", "#####", "#####")
    assert label(~np.pad(thin(ring), 1))[1] == 2


@given(_masks)
@settings(max_examples=100, deadline=None)
def test_thinning_only_removes_keeps_what_is_connected_and_is_done_at_once(mask: Mask) -> None:
    thinned = thin(mask)
    assert not (thinned & ~mask).any()
    eight = np.ones((3, 3))
    assert label(thinned, eight)[1] == label(mask, eight)[1]
    assert np.array_equal(thin(thinned), thinned)
