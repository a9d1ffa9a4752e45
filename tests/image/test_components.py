"""Components and holes on masks of a few voxels, and against a second implementation."""

import numpy as np
from scipy import ndimage

from abdoseg.image.components import box_of, components, dilated, grown, holes, interior, largest, positive_box


def mask_of(*voxels, shape=(5, 5, 5)):
    mask = np.zeros(shape, bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def test_the_larger_of_two_stays():
    mask = mask_of((0, 0, 0), (0, 0, 1), (4, 4, 4))
    assert np.argwhere(largest(mask)).tolist() == [[0, 0, 0], [0, 0, 1]]


def test_voxels_that_share_an_edge_alone_are_apart():
    _, sizes = components(mask_of((0, 0, 0), (1, 1, 0)))
    assert sizes.tolist() == [0, 1, 1]


def test_of_equals_one_stays_and_nothing_stays_nothing():
    assert largest(mask_of((0, 0, 0), (4, 4, 4))).sum() == 1
    assert not largest(mask_of()).any()


def test_an_enclosed_voxel_is_a_hole_and_an_open_one_is_not():
    shell = np.zeros((5, 5, 5), bool)
    shell[1:4, 1:4, 1:4] = True
    shell[2, 2, 2] = False
    assert np.argwhere(holes(shell)).tolist() == [[2, 2, 2]]
    shell[2, 2, 3] = False
    assert not holes(shell).any()


def test_interior_is_what_six_neighbours_enclose():
    rng = np.random.default_rng(0)
    mask = rng.random((9, 8, 7)) < 0.9
    np.testing.assert_array_equal(interior(mask), ndimage.binary_erosion(mask))
    assert not interior(np.ones((5, 2, 5), bool)).any()
    assert not interior(np.ones((1, 1, 1), bool)).any()


def test_background_at_the_border_is_no_hole():
    assert not holes(mask_of()).any()
    assert not holes(np.ones((3, 3, 3), bool)).any()


def test_holes_are_those_that_scipy_fills():
    mask = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(30, 30, 30)), 1.5) > -0.02
    np.testing.assert_array_equal(holes(mask), ndimage.binary_fill_holes(mask) & ~mask)
    numbers, sizes = components(mask)
    truth, count = ndimage.label(mask)
    assert len(sizes) - 1 == count
    np.testing.assert_array_equal(numbers > 0, truth > 0)


def test_the_order_in_memory_does_not_matter():
    mask = np.random.default_rng(1).random((8, 9, 10)) > 0.6
    np.testing.assert_array_equal(largest(np.asfortranarray(mask)), largest(mask))
    np.testing.assert_array_equal(holes(np.asfortranarray(mask)), holes(mask))


def test_a_box_grows_within_the_grid():
    box = box_of(mask_of((0, 2, 4)))
    assert box == (slice(0, 1), slice(2, 3), slice(4, 5))
    assert grown(box, 1, (5, 5, 5)) == (slice(0, 2), slice(1, 4), slice(3, 5))
    assert box_of(mask_of()) is None


def test_a_fields_box_is_the_same_when_it_is_looked_for_in_a_part():
    field = np.where(mask_of((1, 2, 3), (2, 2, 4)), 1, -1).astype(np.float16)
    assert positive_box(field) == (slice(1, 3), slice(2, 3), slice(3, 5))
    assert positive_box(field, (slice(1, 4), slice(1, 3), slice(3, 5))) == positive_box(field)
    assert positive_box(field, (slice(3, 4), slice(1, 3), slice(3, 5))) is None


def test_dilation_is_in_millimetres():
    mask = mask_of((2, 2, 2))
    assert np.argwhere(dilated(mask, 2.0, (1.0, 2.0, 5.0))).tolist() == [
        [0, 2, 2], [1, 2, 2], [2, 1, 2], [2, 2, 2], [2, 3, 2], [3, 2, 2], [4, 2, 2],
    ]  # fmt: skip
    assert not dilated(mask_of(), 2.0, (1, 1, 1)).any()
