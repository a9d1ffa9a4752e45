"""Surfaces of organs: closed, outward, true in volume and place."""

import numpy as np
import pytest
import trimesh
from organs import grid, labels_of
from scipy import ndimage

from abdoseg.image.mesh import Surface, is_watertight, normals, surface, taubin
from abdoseg.image.volume import Geometry


def as_trimesh(made):
    return trimesh.Trimesh(made.vertices, made.triangles, process=False)


def ball(radius_mm, spacing=(1.0, 1.0, 1.0), shape=(40, 40, 40)):
    centre = (np.array(shape) - 1) / 2 * spacing
    axes = [np.arange(n) * s - c for n, s, c in zip(shape, spacing, centre, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    return x**2 + y**2 + z**2 < radius_mm**2, Geometry(shape, np.diag([*spacing, 1.0]))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 3.0)])
def test_a_ball_keeps_its_volume_its_place_and_its_roundness(spacing):
    shape = tuple(int(34 / s) for s in spacing)
    mask, geometry = ball(13, spacing, shape)
    made = surface(mask, geometry)
    mesh = as_trimesh(made)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume / 1000 == pytest.approx(made.voxels_ml, rel=0.005)
    assert mesh.volume / 1000 == pytest.approx(made.volume_ml, rel=1e-4)
    centre = (np.array(shape) - 1) / 2 * spacing
    assert np.abs(mesh.center_mass - centre).max() < 0.1
    assert np.linalg.norm(made.vertices - centre, axis=1).std() < 0.13 * max(spacing)


def test_every_organ_of_a_rotated_grid_is_closed_outward_and_within_two_percent():
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    geometry = grid(rotation=turn)
    labels = labels_of(geometry)
    for label in range(1, 6):
        mesh = as_trimesh(surface(labels == label, geometry))
        assert mesh.is_watertight
        assert mesh.is_volume
        voxels_mm3 = np.count_nonzero(labels == label) * geometry.voxel_ml * 1000
        assert mesh.volume == pytest.approx(voxels_mm3, rel=0.02)
        centre = geometry.affine @ [*np.argwhere(labels == label).mean(axis=0), 1]
        assert np.abs(mesh.center_mass - centre[:3]).max() < 0.5


def test_an_organ_that_the_border_cuts_is_closed_flat_at_it():
    made = surface(np.ones((10, 8, 6), dtype=bool), Geometry((10, 8, 6), np.eye(4)))
    mesh = as_trimesh(made)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(480, rel=0.02)
    assert np.abs(mesh.bounds - [[-0.5, -0.5, -0.5], [9.5, 7.5, 5.5]]).max() < 0.5


def test_decimation_stays_below_what_is_allowed_and_watertight():
    mask, geometry = ball(18)
    made = surface(mask, geometry, most_triangles=1000)
    assert len(made.triangles) <= 1000
    assert as_trimesh(made).is_watertight
    assert made.volume_ml == pytest.approx(made.voxels_ml, rel=0.005)


def test_a_ragged_organ_with_thin_bridges_is_decimated_to_what_is_allowed_and_closed():
    mask, geometry = ball(16)
    rough = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(mask.shape), 1.2)
    mask = ndimage.gaussian_filter(mask.astype(float), 1.5) + 2 * rough > 0.5
    whole = surface(mask, geometry, most_triangles=100_000)
    for most in (len(whole.triangles) // 2, len(whole.triangles) // 5):
        made = surface(mask, geometry, most_triangles=most)
        assert most * 0.95 < len(made.triangles) <= most
        assert as_trimesh(made).is_watertight
        assert made.volume_ml == pytest.approx(made.voxels_ml, rel=0.01)


def test_where_so_few_triangles_cannot_close_an_organ_a_few_more_do():
    mask, geometry = ball(16)
    rough = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(mask.shape), 1.2)
    mask = ndimage.gaussian_filter(mask.astype(float), 1.5) + 4 * rough > 0.5
    whole = surface(mask, geometry, most_triangles=100_000)
    made = surface(mask, geometry, most_triangles=20)
    assert len(made.triangles) < len(whole.triangles) / 4
    assert as_trimesh(made).is_watertight


def test_islands_and_cavities_survive_smoothing_and_decimation():
    mask, geometry = ball(16)
    mask[18:21, 18:21, 18:21] = False
    mask[1, 1, 1] = True
    mesh = as_trimesh(surface(mask, geometry, most_triangles=2000))
    assert len(mesh.split(only_watertight=True)) == 3
    assert mesh.volume == pytest.approx(np.count_nonzero(mask), rel=0.01)


def test_a_single_voxel_has_a_surface_of_its_volume():
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[2, 2, 2] = True
    made = surface(mask, Geometry((5, 5, 5), np.eye(4)))
    assert as_trimesh(made).is_watertight
    assert made.volume_ml == pytest.approx(0.001, rel=0.02)


def test_an_empty_mask_has_no_surface():
    assert surface(np.zeros((3, 3, 3), dtype=bool), Geometry((3, 3, 3), np.eye(4))) is None


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_noise_is_watertight_too(density):
    mask = np.random.default_rng(0).random((16, 16, 16)) < density
    assert as_trimesh(surface(mask, Geometry(mask.shape, np.eye(4)), 500)).is_watertight


def test_taubin_smooths_without_shrinking():
    mesh = trimesh.creation.icosphere(4, 10)
    rough = (mesh.vertices * (1 + 0.02 * np.random.default_rng(0).standard_normal((len(mesh.vertices), 1)))).astype(
        "f4"
    )
    smooth = taubin(rough, mesh.faces.astype(np.int32))
    assert np.linalg.norm(smooth, axis=1).std() < 0.4 * np.linalg.norm(rough, axis=1).std()
    assert trimesh.Trimesh(smooth, mesh.faces).volume == pytest.approx(mesh.volume, rel=0.01)


def test_normals_of_a_ball_point_outward():
    mesh = trimesh.creation.icosphere(3, 5)
    outward = normals(mesh.vertices.astype("f4"), mesh.faces.astype(np.int32))
    assert (outward * mesh.vertices / 5).sum(axis=1).min() > 0.99


def test_a_hole_and_a_turned_triangle_are_found():
    box = trimesh.creation.box()
    assert is_watertight(box.faces)
    assert not is_watertight(box.faces[:-1])
    turned = box.faces.copy()
    turned[0] = turned[0][::-1]
    assert not is_watertight(turned)


def test_the_volume_of_a_box_is_that_of_a_box():
    box = trimesh.creation.box((10, 20, 30))
    assert Surface(box.vertices.astype("f4") + 500, box.faces.astype(np.int32), 6.0).volume_ml == pytest.approx(6)
