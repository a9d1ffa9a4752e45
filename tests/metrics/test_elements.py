"""The area and direction of surface elements, worked by hand."""

import itertools
import math

import numpy as np
import pytest

from abdoseg.metrics import surface_distances
from abdoseg.metrics.elements import element_patterns, element_sizes


def test_a_flat_face_has_the_area_of_a_voxel_face():
    sizes = element_sizes((0.5, 2.0, 3.0))
    lower_half = sum(1 << bit for bit, corner in enumerate(itertools.product((0, 1), repeat=3)) if corner[0] == 0)
    assert sizes[lower_half] == pytest.approx(2.0 * 3.0)
    assert sizes[255 - lower_half] == pytest.approx(2.0 * 3.0)


def test_a_single_corner_cuts_off_a_small_triangle():
    # Half edges of 1 mm: an equilateral triangle of sides sqrt(2)/2 mm.
    assert element_sizes((1, 1, 1))[1] == pytest.approx(math.sqrt(3) / 8)


def test_all_inside_and_all_outside_have_no_surface():
    for spacing in ((1, 2), (1, 2, 3)):
        sizes = element_sizes(spacing)
        assert sizes[0] == sizes[-1] == 0
        assert (sizes[1:-1] > 0).all()


def test_a_single_voxel_is_an_octahedron_of_eight_corners():
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = True
    patterns = element_patterns(mask)
    assert patterns.shape == (4, 4, 4)
    area = element_sizes((1, 1, 1))[patterns].sum()
    assert area == pytest.approx(8 * math.sqrt(3) / 8)


def test_a_pixel_in_the_plane_is_a_diamond():
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    length = element_sizes((3, 4))[element_patterns(mask)].sum()
    assert length == pytest.approx(4 * 2.5)


def test_a_box_has_its_surface_but_for_bevelled_edges():
    mask = np.zeros((40, 40, 40), bool)
    mask[5:35, 5:35, 5:35] = True
    found = surface_distances(mask, mask, (1, 1, 1), "elements")
    faces = 6 * 29**2
    edges = 12 * 29 * math.sqrt(2) / 2
    corners = 8 * math.sqrt(3) / 8
    assert found.truth_weights.sum() == pytest.approx(faces + edges + corners)


def test_area_is_below_the_tolerance_where_the_surface_is_near():
    truth, prediction = np.zeros((2, 20, 20, 20), bool)
    truth[5:15, 5:15, 5:15] = True
    prediction[5:15, 5:15, 5:17] = True
    found = surface_distances(truth, prediction, (1, 1, 1), "elements")
    assert found.hausdorff() == 2
    assert found.nsd(2) == 1
    assert 0 < found.nsd(0) < found.nsd(1) < 1
