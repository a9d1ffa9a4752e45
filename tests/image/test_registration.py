"""Rigid registration on phantom livers: known motions are found, on any grid, and where a scan cuts the liver."""

import time

import numpy as np
import pytest
from phantom_livers import LOBES, Motion, grid, liver

from abdoseg.errors import GeometryError
from abdoseg.image.registration import in_view, moved_points, register
from abdoseg.image.volume import Geometry

PLACES = np.array([(50, 20, 20), (-20, 20, 30), (-100, 35, 25), (15, -30, -70), (40, -30, -10.0)])  # in the liver


def error_mm(first, second, motion):
    """The largest distance between where the places are after the motion and where the registration takes them."""
    found = register(first.labels > 0, first.geometry, second.labels > 0, second.geometry)
    return found, np.linalg.norm(moved_points(found.matrix, PLACES) - motion(PLACES), axis=1).max()


def pair(motion, **second):
    """A liver that lies still, and the same after a motion."""
    after = {"spacing": (2.0, 2.0, 5.0), "axes": "LPS"} | second
    lobes, lesions = after.pop("lobes", LOBES), after.pop("lesions", ())
    still = liver(grid(), others=False)
    return still, liver(grid(motion.shift_mm, **after), lesions, motion, lobes=lobes, others=False)


@pytest.mark.parametrize("degrees", [(15, 0, 0), (0, -15, 0), (0, 0, 15), (10, -12, 9)])
@pytest.mark.parametrize("shift_mm", [(0, 0, 0), (60, -60, 60)])
def test_shifts_and_turns_are_found_on_another_grid(shift_mm, degrees):
    motion = Motion(shift_mm, degrees)
    found, error = error_mm(*pair(motion), motion)
    assert error < 1.5
    assert found.dice > 0.95
    assert found.shift_mm == pytest.approx(np.linalg.norm(motion(found.centre_mm[None])[0] - found.centre_mm), abs=1.5)


@pytest.mark.parametrize("axes", ["RAS", "LPI", "SRA", "PIR"])
def test_the_order_of_a_files_axes_is_of_no_account(axes):
    motion = Motion((20, 10, -30), (5, 8, -6))
    _, error = error_mm(*pair(motion, axes=axes, spacing=(2.5, 2.5, 2.5)), motion)
    assert error < 1.5


@pytest.mark.parametrize("end", ["upper", "lower"])
@pytest.mark.parametrize("part", [0.2, 0.4])
def test_a_liver_that_the_scan_cuts_is_found(end, part):
    motion = Motion((30, -20, 15), (6, -8, 10))
    still, whole = pair(motion)
    planes = np.flatnonzero(whole.labels.any(axis=(0, 1)))
    lost = round(part * len(planes))
    kept = (0, planes[-1] + 1 - lost) if end == "upper" else (planes[0] + lost, whole.labels.shape[2])
    geometry = whole.geometry.cropped((0, 0, kept[0]), (*whole.labels.shape[:2], kept[1]))
    found = register(still.labels > 0, still.geometry, whole.labels[:, :, slice(*kept)] > 0, geometry)
    shown = PLACES[in_view(geometry, motion(PLACES))]
    assert len(shown) >= 2
    assert np.linalg.norm(moved_points(found.matrix, shown) - motion(shown), axis=1).max() < 5
    assert found.common > 0.98  # of what the cut scan shows, the other shows all
    assert found.dice > 0.95


def test_a_liver_that_has_grown_a_mass_at_its_surface_is_not_pulled_there():
    motion = Motion((10, 20, 30), (5, 5, 5))
    _, error = error_mm(*pair(motion, lesions=[((60, 40, 20), 28)]), motion)
    assert error < 3


def test_places_in_a_liver_that_bends_are_found_within_what_it_bends():
    motion = Motion((10, 20, 30), (5, 5, 5), bend_mm=2.5)
    found, error = error_mm(*pair(motion), motion)
    assert error < 6
    assert 0.9 < found.dice < 0.99


def test_the_same_masks_give_the_same_motion():
    first, second = pair(Motion((10, 20, 30), (5, 5, 5)))
    one, other = (
        register(first.labels > 0, first.geometry, second.labels > 0, second.geometry).matrix for _ in range(2)
    )
    assert np.array_equal(one, other)


def test_the_inverse_takes_places_back():
    first, second = pair(Motion((10, 20, 30), (5, 5, 5)))
    found = register(first.labels > 0, first.geometry, second.labels > 0, second.geometry)
    assert moved_points(found.inverse, moved_points(found.matrix, PLACES)) == pytest.approx(PLACES)


def test_other_shapes_overlap_less():
    motion = Motion()
    ball = [((0, 0, 0), (70, 70, 70))]
    found, _ = error_mm(*pair(motion, lobes=ball), motion)
    assert found.dice < 0.9


def test_an_empty_mask_is_an_error():
    geometry = grid(size_mm=(30, 30, 30))
    with pytest.raises(GeometryError, match="without voxels"):
        register(np.zeros(geometry.shape, bool), geometry, np.ones(geometry.shape, bool), geometry)


def test_a_point_is_in_view_as_far_as_the_outer_voxels_reach():
    geometry = Geometry((4, 4, 4), np.diag([2.0, 2.0, 5.0, 1.0]))
    points = np.array([(-0.9, 0, 0), (-1.1, 0, 0), (6.9, 6.9, 17.4), (0, 0, 17.6)])
    assert in_view(geometry, points).tolist() == [True, False, True, False]
    assert in_view(geometry, points, 1.5).tolist() == [False] * 4


def test_large_grids_are_cut_to_the_liver_first():
    still = liver(grid())
    wide = np.zeros((512, 512, 300), np.uint8)
    wide[200 : 200 + still.labels.shape[0], 200 : 200 + still.labels.shape[1], 100 : 100 + still.labels.shape[2]] = (
        still.labels == 1
    )
    geometry = Geometry(wide.shape, still.geometry.affine)
    start = time.process_time()
    found = register(still.labels == 1, still.geometry, wide > 0, geometry)
    assert time.process_time() - start < 10  # 1 s where nothing else runs
    assert found.dice > 0.95
