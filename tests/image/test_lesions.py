"""Lesions of known size in a phantom liver: diameters within a voxel, on any grid; depth, contrast and numbers."""

import csv

import numpy as np
import pytest
from rotations import rotation

from abdoseg.image.lesions import (
    COLUMNS,
    axial_diameters,
    longest_diameter_mm,
    measure_lesions,
    number_lesions,
    write_lesions,
)
from abdoseg.image.volume import Geometry, Labelmap, Stored

ORGANS = {1: "liver", 5: "liver_tumour"}
LIVER, TUMOUR = 1, 5


def grid(shape=(80, 70, 60), spacing=(1.0, 1.0, 1.0), rotation=None):
    """A grid of that size around the origin."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(shape, affine)


def ellipsoid(geometry, centre_mm, radii_mm):
    """The voxels whose centres lie in an ellipsoid along the patient's axes."""
    indices = np.indices(geometry.shape).reshape(3, -1)
    points = geometry.affine[:3, :3] @ indices + geometry.affine[:3, 3:]
    apart = (points - np.reshape(centre_mm, (3, 1))) / np.reshape(radii_mm, (3, 1))
    return (np.square(apart).sum(axis=0) <= 1).reshape(geometry.shape)


def liver_with(geometry, *lesions, liver=((0, 0, 0), (36, 30, 27))):
    labels = np.zeros(geometry.shape, np.uint8)
    labels[ellipsoid(geometry, *liver)] = LIVER
    for lesion in lesions:
        labels[ellipsoid(geometry, *lesion)] = TUMOUR
    return Labelmap(labels, geometry, Stored(geometry), ORGANS)


GRIDS = {
    "1 mm": grid(),
    "slices of 5 mm": grid((110, 100, 14), (0.7, 0.8, 5.0)),
    "oblique": grid((90, 90, 80), (0.9, 0.9, 1.0), rotation(0, 20) @ rotation(2, 15)),
    "slices of 3 mm, oblique": grid((90, 90, 26), (0.9, 0.9, 3.0), rotation(1, 12)),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("radius", [6.0, 10.0, 14.0])
def test_diameters_of_a_ball_are_right_within_a_voxel(name, radius):
    geometry = GRIDS[name]
    (lesion,) = measure_lesions(liver_with(geometry, ((3.0, -2.0, 1.0), (radius,) * 3)))
    in_plane, any_way = max(geometry.spacing_mm[:2]), max(geometry.spacing_mm)
    assert lesion.perpendicular_mm <= lesion.longest_axial_mm + 1e-9 <= lesion.longest_3d_mm + 2e-9
    assert lesion.longest_axial_mm == pytest.approx(2 * radius, abs=in_plane * 1.5 if any_way > 2 else in_plane)
    assert lesion.perpendicular_mm == pytest.approx(2 * radius, abs=in_plane * 1.5 if any_way > 2 else in_plane)
    assert lesion.longest_3d_mm == pytest.approx(2 * radius, abs=any_way)
    assert lesion.volume_ml == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.12 if any_way > 2 else 0.04)
    assert lesion.centre_mm == pytest.approx((3.0, -2.0, 1.0), abs=any_way / 2)


def test_the_two_axial_diameters_of_an_ellipsoid_are_its_axes_in_the_plane():
    (lesion,) = measure_lesions(liver_with(grid(), ((0, 0, 0), (15, 8, 20))))
    assert lesion.longest_axial_mm == pytest.approx(30, abs=1)
    assert lesion.perpendicular_mm == pytest.approx(16, abs=1)
    assert lesion.longest_3d_mm == pytest.approx(40, abs=1)


def test_diameters_follow_a_lesion_that_lies_askew_in_the_plane():
    geometry = grid(rotation=rotation(2, 30))
    (lesion,) = measure_lesions(liver_with(geometry, ((0, 0, 0), (15, 8, 6))))
    assert lesion.longest_axial_mm == pytest.approx(30, abs=1)
    assert lesion.perpendicular_mm == pytest.approx(16, abs=1)


def test_a_box_has_the_diagonals_of_its_faces_middles():
    mask = np.zeros((6, 6, 3), bool)
    mask[1:5, 2:5, 1] = True  # 4 x 3 mm
    found = axial_diameters(mask, grid((6, 6, 3)))
    assert found.longest_mm == pytest.approx(np.hypot(4, 2))  # from the end of a row to the other end, two rows on
    assert found.plane == 1
    assert longest_diameter_mm(mask, grid((6, 6, 3))) == pytest.approx(np.hypot(4, 2))


def test_one_voxel_has_the_size_of_a_voxel():
    mask = np.ones((1, 1, 1), bool)
    geometry = Geometry((1, 1, 1), np.diag([1.0, 2.0, 5.0, 1.0]))
    found = axial_diameters(mask, geometry)
    assert (found.longest_mm, found.perpendicular_mm) == pytest.approx((2, 1))
    assert longest_diameter_mm(mask, geometry) == pytest.approx(5)


def test_a_tilted_gantry_is_measured_in_its_own_planes():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.8  # each slice lies further to the front
    mask = np.zeros((30, 30, 3), bool)
    i, j = np.indices((30, 30)) - 14.5
    mask[:, :, 1] = np.hypot(i, j) <= 10
    assert axial_diameters(mask, Geometry(mask.shape, affine)).longest_mm == pytest.approx(20, abs=1)


def test_pieces_of_one_plane_are_measured_each_by_itself():
    mask = np.zeros((30, 5, 2), bool)
    mask[:, 2, 0] = True
    mask[2:6, 2, 1] = mask[20:29, 2, 1] = True  # one lesion through the plane below
    mask[:, 2, 0] &= np.arange(30) < 7
    found = axial_diameters(mask, grid((30, 5, 2)))
    assert (found.longest_mm, found.plane) == (9, 1)


def test_the_largest_lesion_is_number_one():
    labelmap = liver_with(grid(), ((-20, 0, 0), (4, 4, 4)), ((0, 0, 0), (8, 8, 8)), ((20, 0, 0), (6, 6, 6)))
    lesions = measure_lesions(labelmap)
    assert [lesion.number for lesion in lesions] == [1, 2, 3]
    assert [round(lesion.centre_mm[0]) for lesion in lesions] == [0, 20, -20]
    numbers = number_lesions(labelmap.labels == TUMOUR)
    for lesion in lesions:
        assert set(np.unique(numbers[lesion.box])) == {0, lesion.number}
        assert np.count_nonzero(numbers == lesion.number) / 1000 == pytest.approx(lesion.volume_ml)


def test_voxels_that_share_a_corner_are_one_lesion():
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    assert number_lesions(mask).max() == 2


def test_a_liver_without_lesions_gives_none(tmp_path):
    assert measure_lesions(liver_with(grid())) == ()
    assert (
        measure_lesions(Labelmap(np.zeros((3, 3, 3), np.uint8), grid((3, 3, 3)), Stored(grid((3, 3, 3))), ORGANS)) == ()
    )
    write_lesions((), tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_contrast_is_that_to_the_liver_around_and_not_to_what_lies_beyond():
    labelmap = liver_with(grid(), ((20, 0, 0), (8, 8, 8)), ((4, 0, 0), (4, 4, 4)))
    hu = np.full(labelmap.labels.shape, -100, np.int16)
    hu[labelmap.labels == LIVER] = 110
    hu[labelmap.labels == TUMOUR] = 60
    for lesion in measure_lesions(labelmap, hu):
        assert (lesion.mean_hu, lesion.contrast_hu) == (60, -50)
    alone = Labelmap(np.where(labelmap.labels == TUMOUR, TUMOUR, 0).astype(np.uint8), *_rest(labelmap))
    assert [(one.mean_hu, one.contrast_hu) for one in measure_lesions(alone, hu)] == [(60, None), (60, None)]


def _rest(labelmap):
    return labelmap.geometry, labelmap.stored, labelmap.organs


@pytest.mark.parametrize("name", GRIDS)
def test_depth_is_the_way_to_the_livers_surface(name):
    geometry = GRIDS[name]
    labelmap = liver_with(geometry, ((10, 0, 0), (6, 6, 6)), liver=((0, 0, 0), (30, 30, 30)))
    (deep,) = measure_lesions(labelmap)
    assert deep.surface_distance_mm == pytest.approx(14, abs=max(1.2, max(geometry.spacing_mm) / 1.8))
    (shallow,) = measure_lesions(liver_with(geometry, ((26, 0, 0), (6, 6, 6)), liver=((0, 0, 0), (30, 30, 30))))
    assert shallow.surface_distance_mm == 0


def test_a_hole_in_the_liver_is_no_surface_and_neither_is_the_scans_border():
    labels = np.full((40, 40, 40), LIVER, np.uint8)
    labels[18:22, 18:22, 18:22] = TUMOUR
    geometry = grid(labels.shape)
    (lesion,) = measure_lesions(Labelmap(labels, geometry, Stored(geometry), ORGANS))
    assert lesion.surface_distance_mm is None
    labels[25, 20, 20] = 0
    labels[:10] = 0
    (lesion,) = measure_lesions(Labelmap(labels, geometry, Stored(geometry), ORGANS))
    assert lesion.surface_distance_mm == 8  # voxels 10 to 17 lie between


def test_slices_are_numbered_as_the_file_has_them():
    labels = np.zeros((6, 6, 10), np.uint8)
    labels[1:5, 1:5, 7] = TUMOUR  # the eighth from below
    canonical = grid(labels.shape)
    downwards = canonical.affine @ np.diag([1.0, 1.0, -1.0, 1.0])
    downwards[:3, 3] = canonical.affine[:3, 3] + canonical.affine[:3, 2] * 9
    for stored, number in ((canonical, 8), (Geometry(labels.shape, downwards), 3)):
        (lesion,) = measure_lesions(Labelmap(labels, canonical, Stored(stored), ORGANS))
        assert lesion.slice_number == number


def test_the_probability_is_the_mean_over_the_lesions_voxels():
    labelmap = liver_with(grid(), ((10, 0, 0), (6, 6, 6)), ((-12, 0, 0), (5, 5, 5)))
    lesions = measure_lesions(labelmap, probability_at=lambda points: np.where(points[:, 0] > 0, 0.9, 0.6))
    assert [lesion.mean_probability for lesion in lesions] == [pytest.approx(0.9), pytest.approx(0.6)]


def test_the_csv_has_a_row_a_lesion(tmp_path):
    labelmap = liver_with(grid(), ((10, 0, 0), (6, 6, 6)), ((-12, 0, 0), (5, 5, 5)))
    write_lesions(measure_lesions(labelmap), tmp_path / "lesions.csv")
    with (tmp_path / "lesions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["1", "2"]
    assert float(rows[0]["longest_axial_mm"]) == pytest.approx(12, abs=1)
    assert rows[0]["mean_hu"] == rows[0]["mean_probability"] == ""
    assert float(rows[1]["centre_r_mm"]) == pytest.approx(-12, abs=0.5)
