"""Tiles cover the image, their weights sum to one, and no tiling computes more than it must."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abdoseg.inference.tiling import cheapest_tiling


def total_weight(tiling, shape):
    total = np.zeros(shape)
    for box, weight in tiling.tiles():
        inside = [slice(max(0, b.start), min(n, b.stop)) for b, n in zip(box, shape, strict=True)]
        within = [slice(i.start - b.start, i.stop - b.start) for i, b in zip(inside, box, strict=True)]
        total[tuple(inside)] += weight[tuple(within)]
    return total


@settings(deadline=None, max_examples=40)
@given(shape=st.tuples(*[st.integers(1, 70)] * 3), overlap=st.sampled_from([0.0, 0.25, 0.5]))
def test_weights_sum_to_one_at_every_voxel(shape, overlap):
    tiling = cheapest_tiling(shape, (32, 32, 16), (8, 8, 8), overlap, 40**3)
    np.testing.assert_allclose(total_weight(tiling, shape), 1.0, rtol=1e-4)
    assert all(size % 8 == 0 for size in tiling.size)
    assert math.prod(tiling.size) <= 40**3


def test_an_image_that_fits_is_one_tile_with_a_weight_of_one():
    tiling = cheapest_tiling((100, 90, 60), (96, 96, 64), (16, 16, 16), 0.25, 2_000_000)
    assert tiling.size == (112, 96, 64)
    ((box, weight),) = tiling.tiles()
    assert box[2] == slice(-2, 62)
    np.testing.assert_allclose(weight, 1.0, rtol=1e-6)


def test_a_slab_thinner_than_a_patch_lies_in_the_middle_of_one():
    assert cheapest_tiling((96, 96, 11), (96, 96, 64), (16, 16, 16), 0.25, 10**6).starts == ((0,), (0,), (-27,))


def test_tiles_never_are_smaller_than_the_patch():
    tiling = cheapest_tiling((192, 192, 333), (96, 96, 64), (16, 16, 16), 0.25, 1)
    assert tiling.size == (96, 96, 64)


@pytest.mark.parametrize("most", [600_000, 1_500_000, 4_000_000])
def test_larger_tiles_save_overlap(most):
    small = cheapest_tiling((192, 160, 100), (96, 96, 64), (16, 16, 16), 0.25, 600_000)
    tiling = cheapest_tiling((192, 160, 100), (96, 96, 64), (16, 16, 16), 0.25, most)
    assert tiling.computed_voxels <= small.computed_voxels
    assert math.prod(tiling.size) <= most


def test_neighbours_overlap_by_the_fraction_asked_for():
    tiling = cheapest_tiling((300, 96, 64), (96, 96, 64), (16, 16, 16), 0.25, 600_000)
    starts = tiling.starts[0]
    assert all(b - a <= tiling.size[0] - 24 for a, b in itertools.pairwise(starts))
    assert starts[-1] + tiling.size[0] == 300
