"""Hausdorff, HD95, ASSD and NSD by hand."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from directed_distances import averages, masd
from scipy import ndimage
from scipy.spatial.distance import cdist, directed_hausdorff

from abdoseg.metrics import nsd, surface_distances
from abdoseg.metrics.points import border, bounding_box

SPACING = (0.8, 1.3, 2.5)


def blobs(seed, shape=(14, 12, 10)):
    """Two overlapping random masks that stay off the border."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=shape), 1.2) for _ in range(2)]
    inner = np.zeros(shape, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    return [(field + 0.5 * fields[0] > 0.1) & inner for field in fields]


def points(mask, spacing=SPACING):
    """(n, 3) mm, by another way to a border: an erosion that knows nothing outside."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask)) * np.array(spacing)


def test_two_single_voxels_are_as_far_apart_as_their_centres():
    truth, prediction = np.zeros((2, 5, 5, 5), bool)
    truth[1, 1, 1] = prediction[1, 1, 3] = True
    found = surface_distances(truth, prediction, (1, 1, 2.5))
    assert found.hausdorff() == found.hausdorff(95) == found.assd() == masd(found) == 5
    assert (found.nsd(4.9), found.nsd(5)) == (0, 1)


def test_a_stray_voxel_moves_hausdorff_and_not_the_average():
    truth = np.zeros((30, 10, 10), bool)
    truth[2:8, 2:8, 2:8] = True
    prediction = truth.copy()
    prediction[28, 5, 5] = True  # 21 voxels beyond the nearest border voxel, at 7
    found = surface_distances(truth, prediction, (1, 1, 1))
    shell = 6**3 - 4**3
    assert found.hausdorff() == 21
    assert found.hausdorff(95) == 0
    assert found.directed() == (0, 21)
    assert found.assd() == pytest.approx(21 / (2 * shell + 1))
    assert found.nsd(1) == pytest.approx(2 * shell / (2 * shell + 1))


@pytest.mark.parametrize("surface", ["border", "elements"])
def test_equal_masks_lie_on_each_other(surface):
    truth, _ = blobs(0)
    found = surface_distances(truth, truth, SPACING, surface)
    assert (found.hausdorff(), found.hausdorff(95), found.assd(), found.nsd(0)) == (0, 0, 0, 1)


@pytest.mark.parametrize("surface", ["border", "elements"])
def test_one_empty_mask_is_infinitely_far(surface):
    truth, empty = np.ones((3, 3, 3), bool), np.zeros((3, 3, 3), bool)
    for pair in ((truth, empty), (empty, truth)):
        found = surface_distances(*pair, SPACING, surface)
        assert found.hausdorff() == found.hausdorff(95) == found.assd() == math.inf
        assert found.nsd(100) == 0


def test_two_empty_masks_have_no_distance():
    empty = np.zeros((3, 3, 3), bool)
    found = surface_distances(empty, empty, SPACING)
    assert all(math.isnan(v) for v in (found.hausdorff(), found.hausdorff(95), found.assd(), masd(found), found.nsd(1)))


def test_a_border_voxel_has_a_face_to_the_outside_even_at_the_edge_of_the_image():
    assert border(np.ones((3, 3, 3), bool)).sum() == 26
    assert border(np.ones((3, 3), bool)).sum() == 8
    assert border(np.ones((1, 5, 5), bool)).sum() == 25


@pytest.mark.parametrize("seed", range(6))
def test_distances_are_those_of_all_pairs(seed):
    truth, prediction = blobs(seed)
    a, b = points(truth), points(prediction)
    table = cdist(a, b)
    to_prediction, to_truth = table.min(axis=1), table.min(axis=0)
    found = surface_distances(truth, prediction, SPACING)
    both = np.concatenate([to_prediction, to_truth])
    assert found.hausdorff() == pytest.approx(max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0]))
    assert found.hausdorff(95) == pytest.approx(max(np.percentile(to_prediction, 95), np.percentile(to_truth, 95)))
    assert found.assd() == pytest.approx(both.mean())
    assert masd(found) == pytest.approx((to_prediction.mean() + to_truth.mean()) / 2)
    for tolerance in (0, 1.3, 2.5, 3.1):
        assert found.nsd(tolerance) == pytest.approx((both <= tolerance + 1e-9).mean())
        assert nsd(truth, prediction, SPACING, tolerance) == found.nsd(tolerance)


def faces_outside(mask):
    """Indices of voxels with a neighbour across a face that is background or outside the array, one by one."""
    padded = np.pad(mask, 1)
    steps = np.concatenate([np.eye(mask.ndim, dtype=int), -np.eye(mask.ndim, dtype=int)])
    return np.array([at for at in np.argwhere(mask) if not all(padded[tuple(at + 1 + step)] for step in steps)])


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 5), (5, 4, 6), (3, 3, 9), (7, 6), (1, 8)])
@pytest.mark.parametrize("density", [0.05, 0.5, 0.97])
def test_masks_that_fill_their_array_are_measured_to_its_edge(shape, density):
    rng = np.random.default_rng(int(100 * density))
    spacing = np.array((0.6, 1.7, 5.0)[-len(shape) :])
    masks = rng.random((2, *shape)) < density
    masks[0].flat[0] = masks[1].flat[-1] = True
    a, b = (faces_outside(mask) * spacing for mask in masks)
    table = cdist(a, b)
    to_prediction, to_truth = table.min(axis=1), table.min(axis=0)
    found = surface_distances(*masks, spacing)
    assert found.directed() == pytest.approx((to_prediction.max(), to_truth.max()))
    assert averages(found) == pytest.approx((to_prediction.mean(), to_truth.mean()))
    both = np.concatenate([to_prediction, to_truth])
    for tolerance in (0, 1e-6, 0.6, 1.7, 5.0, *both[:3]):  # of which many equal a distance
        assert found.nsd(tolerance) == pytest.approx((both <= tolerance + 1e-9).mean())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the package asks scipy for names that have moved
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 5), (5, 4, 6), (7, 6)])
@pytest.mark.parametrize("density", [0.05, 0.5, 0.97])
def test_elements_are_those_of_the_package_they_come_from(shape, density):
    theirs = pytest.importorskip("surface_distance.metrics", reason="surface-distance is not installed")
    rng = np.random.default_rng(int(100 * density))
    spacing = (0.6, 1.7, 5.0)[-len(shape) :]
    masks = rng.random((2, *shape)) < density
    masks[0].flat[0] = masks[1].flat[-1] = True
    wanted, found = theirs.compute_surface_distances(*masks, spacing), surface_distances(*masks, spacing, "elements")
    assert averages(found) == pytest.approx(theirs.compute_average_surface_distance(wanted))
    for percent in (50, 95, 100):
        assert found.hausdorff(percent) == pytest.approx(theirs.compute_robust_hausdorff(wanted, percent))
    for tolerance in (0, 1e-6, 0.3, 0.6, 1.7, 5.0):
        assert found.nsd(tolerance) == pytest.approx(theirs.compute_surface_dice_at_tolerance(wanted, tolerance))


@pytest.mark.parametrize("seed", range(3))
def test_hausdorff_is_that_of_simpleitk_between_contours(seed):
    images = []
    for mask in blobs(seed):
        image = sitk.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing(SPACING[::-1])
        images.append(sitk.LabelContour(image, fullyConnected=False))
    theirs = sitk.HausdorffDistanceImageFilter()
    theirs.Execute(*images)
    assert surface_distances(*blobs(seed), SPACING).hausdorff() == pytest.approx(theirs.GetHausdorffDistance())


@pytest.mark.parametrize("surface", ["border", "elements"])
def test_memory_order_margins_and_turns_change_nothing(surface):
    truth, prediction = blobs(4)
    wanted = surface_distances(truth, prediction, SPACING, surface)
    views = {
        "fortran": ([np.asfortranarray(mask) for mask in (truth, prediction)], SPACING),
        "mixed": ([truth, np.asfortranarray(prediction)], SPACING),
        "turned": ([mask.transpose(2, 0, 1)[::-1] for mask in (truth, prediction)], (2.5, 0.8, 1.3)),
        "margin": ([np.pad(mask, ((5, 0), (0, 9), (3, 3))) for mask in (truth, prediction)], SPACING),
    }
    for pair, spacing in views.values():
        found = surface_distances(*pair, spacing, surface)
        for name in ("hausdorff", "assd"):
            assert getattr(found, name)() == pytest.approx(getattr(wanted, name)())
        assert averages(found) == pytest.approx(averages(wanted))
        assert found.hausdorff(95) == pytest.approx(wanted.hausdorff(95))
        assert found.nsd(1.5) == pytest.approx(wanted.nsd(1.5))


def test_axes_off_right_angles_are_measured_point_by_point():
    truth, prediction = blobs(2)
    straight = surface_distances(truth, prediction, SPACING)
    as_matrix = surface_distances(truth, prediction, np.diag(SPACING))
    assert as_matrix.hausdorff() == pytest.approx(straight.hausdorff())
    tilted = np.diag(SPACING)
    tilted[1, 2] = 1.0  # a slice up is also a millimetre forward
    a, b = (np.argwhere(border(mask)) @ tilted.T for mask in (truth, prediction))
    table = cdist(a, b)
    found = surface_distances(truth, prediction, tilted)
    assert found.hausdorff() == pytest.approx(max(table.min(axis=0).max(), table.min(axis=1).max()))
    with pytest.raises(ValueError, match="right angles"):
        surface_distances(truth, prediction, tilted, "elements")


def test_double_precision_agrees_to_seven_digits():
    truth, prediction = blobs(1)
    for surface in ("border", "elements"):
        single = surface_distances(truth, prediction, SPACING, surface)
        double = surface_distances(truth, prediction, SPACING, surface, double=True)
        assert single.truth_mm == pytest.approx(double.truth_mm, rel=1e-6)


def test_a_distance_equal_to_the_tolerance_is_within_it():
    truth, prediction = np.zeros((2, 12, 3, 3), bool)
    truth[1, 1, 1] = prediction[6, 1, 1] = True  # 5 steps of 0.6 mm are 3 mm, and a little more in single precision
    assert nsd(truth, prediction, (0.6, 1, 1), 3.0) == 1


def test_the_bounding_box_holds_both_masks():
    a, b = np.zeros((2, 6, 6, 6), bool)
    a[1, 2, 3] = b[4, 2, 5] = True
    assert bounding_box(a, b) == (slice(1, 5), slice(2, 3), slice(3, 6))
    assert np.zeros((6, 6, 6))[bounding_box(np.zeros((6, 6, 6), bool))].size == 0


def test_masks_and_spacing_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        surface_distances(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool), (1, 1))
