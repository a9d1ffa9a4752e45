"""Grids that differ: told in millimetres, tolerated by a hair, resampled when asked."""

import numpy as np
import pytest
from phantom_labels import body, labelmap

from abdoseg.errors import GeometryError
from abdoseg.evaluation.grids import grid_difference, resample_onto
from abdoseg.image.volume import Geometry


def test_equal_grids_do_not_differ_and_a_hair_is_tolerated():
    a = Geometry((4, 4, 4), np.eye(4))
    shifted = np.eye(4)
    shifted[0, 3] = 0.05
    assert grid_difference(a, Geometry((4, 4, 4), shifted), 0.1) is None


def test_a_shift_is_given_in_millimetres():
    shifted = np.eye(4)
    shifted[1, 3] = 2.5
    difference = grid_difference(Geometry((4, 4, 4), np.eye(4)), Geometry((4, 4, 4), shifted), 0.1)
    assert "2.5 mm apart" in difference
    assert "tolerance 0.1 mm" in difference


def test_shapes_are_given_with_their_spacings():
    difference = grid_difference(Geometry((4, 4, 4), np.eye(4)), Geometry((2, 4, 4), np.diag([2.0, 1, 1, 1])), 0.1)
    assert difference == "the prediction has 2 x 4 x 4 voxels of 2 x 1 x 1 mm, the truth 4 x 4 x 4 of 1 x 1 x 1 mm"


@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_doubled_voxels_come_back_as_they_were(method):
    labels = body()
    fine = np.repeat(np.repeat(np.repeat(labels, 2, 0), 2, 1), 2, 2)
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    affine[:3, 3] = -0.25, -0.25, -0.5
    target = labelmap(labels)
    found = resample_onto(labelmap(fine, affine=affine), target, method)
    assert (found.labels == labels).all()
    assert found.geometry.matches(target.geometry)


@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_beyond_the_prediction_is_background(method):
    labels = np.ones((24, 20, 16), np.uint8)
    found = resample_onto(labelmap(labels[:, :, 6:], affine=moved(z=12.0)), labelmap(labels), method)
    assert (found.labels[:, :, 6:] == 1).all()
    assert (found.labels[:, :, :6] == 0).all()


@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_an_organ_cut_by_the_edge_ends_at_the_outer_faces(method):
    # Two voxels of 2 mm, centres at 3 and 5 mm: their outer faces lie at 2 and 6 mm.
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    affine[0, 3] = 3.0
    source = labelmap(np.ones((2, 4, 4), np.uint8), affine=affine)
    affine = np.eye(4)
    affine[0, 3] = 0.5
    target = labelmap(np.zeros((8, 4, 4), np.uint8), affine=affine)
    assert resample_onto(source, target, method).labels[:, 1, 1].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_an_oblique_grid_is_covered_where_it_lies(method):
    angle = np.radians(30)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    source = labelmap(np.ones((5, 5, 3), np.uint8), affine=turned)
    found = resample_onto(source, labelmap(np.zeros((9, 9, 3), np.uint8), affine=np.eye(4)), method).labels[:, :, 1]
    back = np.linalg.inv(turned)
    for i, j in ((0, 0), (3, 3), (8, 0), (0, 4), (1, 4)):
        place = (back @ [i, j, 1, 1])[:2]
        assert found[i, j] == ((place >= -0.5) & (place <= 4.5)).all(), (i, j)


def test_a_method_that_does_not_exist_is_refused():
    with pytest.raises(GeometryError, match="nearest, linear"):
        resample_onto(labelmap(body()), labelmap(body()), "cubic")


def moved(z):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[2, 3] = z
    return affine
