"""Grids onto grids: values worked by hand, a second implementation, and the labels' way back."""

import numpy as np
import pytest
from scipy import ndimage

from abdoseg.image.resample import resample_image, resample_labels, upsample_labels
from abdoseg.image.volume import Geometry


def grid(shape, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Geometry(shape, affine)


def sheared(shape, spacing, degrees):
    affine = np.diag([*spacing, 1.0])
    affine[1, 2] = spacing[2] * np.tan(np.radians(degrees))
    return Geometry(shape, affine)


def test_the_same_grid_gives_the_same_voxels():
    voxels = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7), dtype=np.int16)
    np.testing.assert_allclose(resample_image(voxels, grid((5, 6, 7)), grid((5, 6, 7))), voxels, atol=1e-3)


def test_twice_the_spacing_is_a_triangle_of_four_voxels():
    voxels = np.zeros((8, 1, 1), np.float32)
    voxels[3] = 16.0
    source = grid((8, 1, 1))
    target = source.resampled((2.0, 1.0, 1.0))  # centres at 0.5, 2.5, 4.5, 6.5; taps 1/8 3/8 3/8 1/8
    np.testing.assert_allclose(resample_image(voxels, source, target)[:, 0, 0], [0.0, 6.0, 2.0, 0.0], atol=1e-5)


def test_half_the_spacing_is_linear_and_repeats_the_edge():
    source = grid((2, 1, 1))
    target = source.resampled((0.5, 1.0, 1.0))  # centres at -0.25, 0.25, 0.75, 1.25
    values = resample_image(np.array([0.0, 4.0], np.float32).reshape(2, 1, 1), source, target)
    np.testing.assert_allclose(values[:, 0, 0], [0.0, 1.0, 3.0, 4.0], atol=1e-6)


def test_a_constant_stays_constant_at_any_spacing():
    source = grid((37, 23, 300), (0.7, 0.9, 1.1))
    values = resample_image(np.full(source.shape, 40, np.int16), source, source.resampled((2.0, 1.3, 3.0)))
    np.testing.assert_allclose(values, 40.0, rtol=1e-5)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("flip", [1, -1])
def test_memory_order_and_flips_do_not_change_the_values(order, flip):
    voxels = np.random.default_rng(1).integers(-1000, 1000, (40, 30, 20), dtype=np.int16)
    source = grid(voxels.shape, (0.8, 0.8, 1.5))
    target = source.resampled((2.0, 2.0, 3.0))
    other = np.array(voxels[::flip], order=order)[::flip]
    np.testing.assert_array_equal(resample_image(other, source, target), resample_image(voxels, source, target))


def test_a_sheared_grid_is_sampled_where_its_voxels_lie():
    source, target = sheared((40, 60, 30), (1.0, 1.0, 2.0), 15), grid((30, 40, 20), (1.0, 1.0, 2.0), (5, 14, 10))
    i, j, k = np.indices(source.shape)
    x, y, z = np.einsum("ab,b...->a...", source.affine[:3, :3], np.stack([i, j, k]))
    values = resample_image((3 * x + 2 * y - z).astype(np.float32), source, target)
    i, j, k = np.indices(target.shape)
    truth = 3 * (i + 5) + 2 * (j + 14) - (2 * k + 10)
    np.testing.assert_allclose(values, truth, atol=1e-2)


def test_beyond_a_rotated_source_there_is_air():
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
    values = resample_image(np.full((10, 10, 4), 50, np.int16), Geometry((10, 10, 4), turn), grid((40, 40, 4)))
    assert values[-1, -1, 1] == -1024
    assert values[1, 6, 1] == pytest.approx(50)


def test_labels_take_the_nearest_voxel_and_never_mix():
    labels = np.array([1, 1, 4, 4], np.uint8).reshape(4, 1, 1)
    source = grid((4, 1, 1))
    assert resample_labels(labels, source, source.resampled((0.5, 1, 1)))[:, 0, 0].tolist() == [1] * 4 + [4] * 4


@pytest.mark.parametrize("degrees", [0, 90])
def test_labels_beyond_the_source_are_background(degrees):
    # Three voxels of 2 mm, centres at 2, 4, 6 mm: their outer faces lie at 1 and 7 mm.
    turn = np.eye(4)
    turn[:2, :2] = [[0, -1], [1, 0]] if degrees else np.eye(2)
    labels = np.array([1, 2, 3], np.uint8).reshape(3, 1, 1)
    source = Geometry((3, 1, 1), turn @ np.array(grid((3, 1, 1), (2, 1, 1), (2, 0, 0)).affine))
    along = grid((10, 1, 1)) if not degrees else grid((1, 10, 1))
    assert resample_labels(labels, source, along).ravel().tolist() == [0, 1, 1, 2, 2, 3, 3, 0, 0, 0]
    assert not resample_labels(labels, source, grid((10, 10, 1), origin=(0, 0, 5))).any()


def full_interpolation(field, source, target):
    """The slow way: every target voxel's trilinear value, edges repeated."""
    matrix = np.linalg.inv(source.affine) @ target.affine
    return ndimage.affine_transform(
        field.astype(np.float64), matrix[:3, :3], matrix[:3, 3], target.shape, order=1, mode="nearest"
    )


@pytest.mark.parametrize("make", [lambda s, p: grid(s, p), lambda s, p: sheared(s, p, 12)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_upsampled_labels_are_the_sign_of_the_full_interpolation(make, order):
    source = grid((14, 15, 12), (2.0, 2.0, 3.0), (1, 9, 1))
    target = make((30, 25, 30), (0.9, 0.9, 1.0))
    field = np.random.default_rng(2).normal(size=source.shape) - 0.3
    field[[0, -1]] = field[:, [0, -1]] = field[:, :, [0, -1]] = -1.0
    labels = np.zeros(target.shape, np.uint8, order=order)
    upsample_labels({3: field.astype(np.float32)}, source, target, labels)
    truth = full_interpolation(field, source, target)
    clear = np.abs(truth) > 1e-4
    np.testing.assert_array_equal((labels == 3)[clear], (truth > 0)[clear])


def test_upsampling_a_box_is_upsampling_the_whole_grid():
    source = grid((20, 20, 20), (2.0, 2.0, 2.0))
    target = source.resampled((0.7, 1.1, 3.0))
    field = np.full(source.shape, -1.0, np.float32)
    field[8:12, 6:13, 9:11] = 1.0
    whole, box = np.zeros(target.shape, np.uint8), np.zeros(target.shape, np.uint8)
    upsample_labels({1: field}, source, target, whole)
    start, stop = (7, 5, 8), (13, 14, 12)
    upsample_labels({1: field[7:13, 5:14, 8:12]}, source.cropped(start, stop), target, box)
    np.testing.assert_array_equal(whole, box)
    assert whole.any()


def test_an_organ_at_the_border_is_upsampled_to_the_last_voxel():
    source = grid((4, 4, 4), (3.0, 3.0, 3.0))
    target = source.resampled((1.0, 1.0, 1.0))
    labels = np.zeros(target.shape, np.uint8)
    upsample_labels({1: np.ones(source.shape, np.float32)}, source, target, labels)
    assert labels.all()


def test_one_voxel_and_one_slice_are_enough():
    source = grid((1, 5, 1), (4.0, 1.0, 4.0))
    target = source.resampled((1.0, 1.0, 1.0))
    labels = np.zeros(target.shape, np.uint8)
    upsample_labels({2: np.array([-1, 1, 1, 1, -1], np.float32).reshape(1, 5, 1)}, source, target, labels)
    assert labels.any(axis=(0, 2)).tolist() == [False, True, True, True, False]


def test_what_lies_between_the_voxels_of_a_coarse_target_is_passed_over():
    source = grid((30, 90, 30), (1.5, 1.5, 1.5))
    target = source.resampled((1.0, 12.0, 1.0))
    found = []
    for start in range(5, 75):
        field, labels = np.full(source.shape, -1.0, np.float32), np.zeros(target.shape, np.uint8)
        field[10:14, start : start + 4, 10:14] = 1.0
        upsample_labels({1: field}, source, target, labels)
        found.append(bool(labels.any()))
        truth = full_interpolation(field, source, target)
        clear = np.abs(truth) > 1e-4
        np.testing.assert_array_equal(labels[clear] > 0, truth[clear] > 0)
    assert any(found) and not all(found)


def test_two_fields_that_cannot_both_win_never_claim_one_voxel():
    source = grid((10, 10, 10), (2.0, 2.0, 2.0))
    target = source.resampled((0.6, 0.6, 0.6))
    scores = np.random.default_rng(3).normal(size=(2, *source.shape))
    fields = {1: scores[0] - np.maximum(scores[1], 0), 2: scores[1] - np.maximum(scores[0], 0)}
    first, second, both = (np.zeros(target.shape, np.uint8) for _ in range(3))
    upsample_labels({1: fields[1]}, source, target, first)
    upsample_labels({2: fields[2]}, source, target, second)
    assert first.any()
    assert not (first.astype(bool) & second.astype(bool)).any()
    looked = upsample_labels(fields, source, target, both, {2: (slice(0, 10),) * 3})
    np.testing.assert_array_equal(both, first + second)
    assert all((both == label).sum() == (both[looked[label]] == label).sum() for label in (1, 2))


def test_a_margin_that_is_nowhere_above_0_or_only_beyond_the_target_has_no_box():
    source = grid((6, 6, 6))
    field = np.full(source.shape, -1.0, np.float32)
    labels = np.zeros((2, 6, 6), np.uint8)
    there = field.copy()
    there[5] = 1.0
    assert upsample_labels({1: field, 2: there}, source, grid((2, 6, 6)), labels) == {} and not labels.any()
