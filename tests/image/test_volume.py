"""Geometry, Stored, Volume and Labelmap: where grids lie, and axes reordered without loss."""

import itertools

import numpy as np
import pytest
from rotations import rotation

from abdoseg.errors import GeometryError
from abdoseg.image.volume import Geometry, Labelmap, Stored, Volume, nearest_axes

ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product([1, -1], repeat=3)
]


def affine_of(order, signs, spacing=(0.8, 1.1, 3.0), origin=(7.0, -11.0, 13.0)):
    """Array axis a points along world axis order[a], with sign signs[a]."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for a in range(3):
        affine[order[a], a] = signs[a] * spacing[a]
    affine[:3, 3] = origin
    return affine


def turned(affine, degrees=(9.0, -7.0, 5.0)):
    out = affine.copy()
    for axis, angle in enumerate(degrees):
        out[:3, :3] = rotation(axis, angle) @ out[:3, :3]
    return out


def place(affine, index):
    return affine[:3, :3] @ np.asarray(index, float) + affine[:3, 3]


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
@pytest.mark.parametrize("oblique", [False, True])
def test_canonical_axes_keep_every_voxel_in_its_place(order, signs, oblique):
    affine = affine_of(order, signs)
    stored = Stored(Geometry((2, 3, 4), turned(affine) if oblique else affine))
    array = np.arange(24).reshape(2, 3, 4)
    canonical, geometry = stored.to_canonical(array), stored.canonical()
    assert geometry.axes == "RAS"
    assert canonical.shape == geometry.shape
    for index in np.ndindex(2, 3, 4):
        where = np.argwhere(canonical == array[index])[0]
        assert np.allclose(place(geometry.affine, where), place(stored.geometry.affine, index))


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_from_canonical_undoes_to_canonical_without_a_copy(order, signs):
    stored = Stored(Geometry((2, 3, 4), affine_of(order, signs)))
    array = np.arange(24).reshape(2, 3, 4)
    back = stored.from_canonical(stored.to_canonical(array))
    assert np.array_equal(back, array)
    assert np.shares_memory(back, array)


def test_a_sheared_grid_is_taken_to_canonical_axes_too():
    affine = affine_of((1, 0, 2), (-1, 1, -1))
    affine[1, 2] = 0.9  # slices that lean
    stored = Stored(Geometry((2, 3, 4), affine))
    canonical = stored.to_canonical(np.arange(24).reshape(2, 3, 4))
    where = np.argwhere(canonical == 23)[0]
    assert np.allclose(place(stored.canonical().affine, where), place(affine, (1, 2, 3)))
    assert stored.canonical().shear_degrees == pytest.approx(np.degrees(np.arctan(0.9 / 3.0)))
    assert stored.canonical().turned_degrees == pytest.approx(np.degrees(np.arctan(0.9 / 3.0)) / 2)


def test_axes_of_a_grid_turned_by_just_under_45_degrees_are_each_taken_once():
    affine = turned(affine_of((0, 1, 2), (1, 1, 1)), (44.0, 0.0, 44.0))
    assert sorted(world for world, _ in nearest_axes(affine)) == [0, 1, 2]


def test_spacing_volume_and_axes_are_read_from_the_affine():
    geometry = Geometry((5, 6, 7), affine_of((2, 0, 1), (-1, -1, 1), (2.0, 0.5, 4.0)))
    assert geometry.spacing_mm.tolist() == [2.0, 0.5, 4.0]
    assert geometry.voxel_ml == pytest.approx(0.004)
    assert geometry.axes == "ILA"
    assert geometry.shear_degrees == 0


def test_shear_counts_for_the_volume_of_a_voxel():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 5.0  # leans, but the slices are as far apart as before
    assert Geometry((2, 2, 2), affine).voxel_ml == pytest.approx(0.002)


def test_grids_match_within_a_tenth_of_a_millimetre_at_the_corners():
    near, far = np.eye(4), np.eye(4)
    near[0, 3], far[0, 0] = 0.09, 1.05  # moved by 0.09 mm; stretched, by 0.45 mm at the far corners
    one = Geometry((10, 10, 10), np.eye(4))
    assert one.matches(Geometry((10, 10, 10), near))
    assert not one.matches(Geometry((10, 10, 10), far))
    assert one.distance_mm(Geometry((10, 10, 10), far)) == pytest.approx(0.45)
    assert one.distance_mm(Geometry((10, 10, 9), np.eye(4))) == float("inf")


def test_a_crop_keeps_its_voxels_where_they_were():
    geometry = Geometry((8, 9, 10), turned(affine_of((1, 2, 0), (1, -1, -1))))
    crop = geometry.cropped((2, 0, 5), (4, 9, 6))
    assert crop.shape == (2, 9, 1)
    assert np.allclose(crop.affine[:3, 3], place(geometry.affine, (2, 0, 5)))


def test_a_resampled_grid_covers_the_same_box():
    geometry = Geometry((40, 30, 20), turned(affine_of((0, 1, 2), (1, 1, 1), (1.0, 1.0, 2.0))))
    coarse = geometry.resampled((2.0, 2.0, 4.0))
    assert coarse.shape == (20, 15, 10)
    assert np.allclose(coarse.spacing_mm, [2, 2, 4])
    assert np.allclose(place(coarse.affine, (-0.5, -0.5, -0.5)), place(geometry.affine, (-0.5, -0.5, -0.5)))


def test_a_grid_of_one_slice_resamples_to_at_least_one():
    assert Geometry((4, 4, 1), np.eye(4)).resampled((8, 8, 8)).shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("shape", "affine", "word"),
    [
        ((2, 2, 2), np.zeros((4, 4)), "invertible"),
        ((2, 2, 2), np.full((4, 4), np.nan), "invertible"),
        ((2, 2, 2), np.eye(3), "invertible"),
        ((2, 0, 2), np.eye(4), "no voxels"),
        ((2, 2), np.eye(4), "no voxels"),
    ],
)
def test_an_impossible_grid_is_refused(shape, affine, word):
    with pytest.raises(GeometryError, match=word):
        Geometry(shape, affine)


def test_the_affine_cannot_be_changed_behind_a_geometry():
    affine = np.eye(4)
    geometry = Geometry((2, 2, 2), affine)
    affine[0, 0] = 9
    assert geometry.spacing_mm[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 9


def test_an_array_that_does_not_fill_its_grid_is_refused():
    geometry = Geometry((2, 2, 2), np.eye(4))
    with pytest.raises(GeometryError, match="does not fill"):
        Volume(np.zeros((2, 2, 3)), geometry, Stored(geometry))
    with pytest.raises(GeometryError, match="does not fill"):
        Labelmap(np.zeros((1, 2, 2), np.uint8), geometry, Stored(geometry), {})


def test_a_labelmap_gives_an_organs_mask_by_name_and_knows_what_was_not_looked_for():
    geometry = Geometry((1, 1, 3), np.eye(4))
    labelmap = Labelmap(np.array([[[0, 1, 4]]], np.uint8), geometry, Stored(geometry), {1: "liver", 4: "spleen"})
    assert labelmap.mask("spleen").tolist() == [[[False, False, True]]]
    with pytest.raises(KeyError):
        labelmap.mask("pancreas")
