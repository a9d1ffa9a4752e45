"""STL, PLY, OBJ and GLB read back: place, volume, winding and layout."""

import struct

import numpy as np
import pytest
import trimesh
from organs import make, relabelled

from abdoseg.exporters.job import ExportOptions, export


def centre_mm(job, label):
    affine = job.labelmap.geometry.affine
    return (affine @ [*np.argwhere(job.labelmap.labels == label).mean(axis=0), 1])[:3]


def volume_mm3(job, label):
    return np.count_nonzero(job.labelmap.labels == label) * job.labelmap.geometry.voxel_ml * 1000


@pytest.mark.parametrize("kind", ["stl", "ply", "obj"])
@pytest.mark.parametrize(("space", "signs"), [("LPS", (-1, -1, 1)), ("RAS", (1, 1, 1))])
def test_each_organ_reads_back_in_patient_millimetres_closed_and_of_its_volume(tmp_path, kind, space, signs):
    job = make(options=ExportOptions(space=space))
    files = list(export(job, tmp_path, [kind]))
    assert [file.name for file in files] == [f"phantom_{organ}.{kind}" for organ in job.labelmap.organs.values()]
    for label, file in enumerate(files, start=1):
        mesh = trimesh.load(file)
        mesh.merge_vertices()
        assert mesh.is_volume
        assert mesh.volume == pytest.approx(volume_mm3(job, label), rel=0.02)
        assert np.abs(mesh.center_mass - centre_mm(job, label) * signs).max() < 0.5


@pytest.mark.parametrize("kind", ["stl", "ply", "obj"])
def test_the_space_is_stated_where_3d_slicer_looks_for_it(tmp_path, kind):
    for space in ("LPS", "RAS"):
        job = make(options=ExportOptions(space=space))
        file = next(iter(export(job.only("spleen"), tmp_path, [kind], split=False, overwrite=True)))
        assert f"SPACE={space}".encode() in file.read_bytes()[:200]


def test_stl_is_eighty_bytes_a_count_and_fifty_bytes_a_triangle_with_outward_normals(tmp_path):
    job = make()
    (file,) = export(job, tmp_path, ["stl"], split=False)
    data = file.read_bytes()
    (count,) = struct.unpack("<I", data[80:84])
    assert len(data) == 84 + 50 * count
    assert count == sum(len(surface.triangles) for surface in job.with_surfaces().surfaces.values())
    mesh = trimesh.load(file)
    assert mesh.volume == pytest.approx(sum(volume_mm3(job, label) for label in range(1, 6)), rel=0.02)
    written = np.frombuffer(data[84:], dtype=[("f", "<f4", 12), ("a", "<u2")])["f"][:, :3]
    assert (written * mesh.face_normals).sum(axis=1).min() > 0.99


def test_glb_holds_named_coloured_organs_in_metres_with_y_up(tmp_path):
    job = make()
    (file,) = export(job, tmp_path, ["glb"])
    scene = trimesh.load(file)
    assert set(scene.geometry) == set(job.labelmap.organs.values())
    right, anterior, superior = centre_mm(job, 2)
    mesh = scene.geometry["kidney_right"]
    assert mesh.is_volume
    assert mesh.center_mass * 1000 == pytest.approx([-right, superior, anterior], abs=0.5)
    colour = mesh.visual.material.baseColorFactor
    assert colour[2] > colour[1] > colour[0]


def test_triangles_are_no_more_than_asked_for(tmp_path):
    (file,) = export(make(options=ExportOptions(triangles=500)).only("liver"), tmp_path, ["stl"], split=False)
    assert file.stat().st_size <= 84 + 50 * 500


def test_an_empty_organ_has_no_file_and_an_empty_case_an_empty_mesh(tmp_path):
    job = make()
    labels = np.where(job.labelmap.labels == 4, 0, job.labelmap.labels)
    job = relabelled(job, labels)
    assert "phantom_spleen.stl" not in [file.name for file in export(job, tmp_path, ["stl"])]
    nothing = relabelled(make(), np.zeros_like(labels))
    assert list(export(nothing, tmp_path, ["stl"])) == []
    for file in export(nothing, tmp_path, ["stl", "ply", "obj", "glb"], split=False):
        assert file.exists()
    assert trimesh.load(file).is_empty
