"""abdoseg convert on the command line: one file out, words on stderr, and nothing left behind by failures."""

import subprocess
import sys

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner
from phantom_dicom import AXIAL, PATIENT, body, tilted, write_series

from abdoseg.cli.convert import convert
from abdoseg.exporters.job import Job, export
from abdoseg.image.volume import Labelmap
from abdoseg.io import read_scan

HU = body()


def run(*args):
    return CliRunner().invoke(convert, [str(arg) for arg in args], standalone_mode=False)


def test_a_series_becomes_a_nifti_file_with_its_hu_in_place(tmp_path):
    write_series(tmp_path / "ct", HU)
    out = tmp_path / "new" / "ct.nii.gz"
    result = run(tmp_path / "ct", "-o", out)
    assert result.stdout == f"{out}\n"
    image = nibabel.load(out)
    assert np.array_equal(np.asarray(image.dataobj), HU)
    assert np.allclose(image.affine, AXIAL, atol=1e-5)
    assert image.get_data_dtype() == np.int16


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("beside", [True, False])
def test_a_seg_or_rtstruct_becomes_labels_on_the_grid_of_its_series(tmp_path, kind, beside):
    labels = np.zeros(HU.shape, np.uint8)
    labels[5:20, 6:20, 2:9], labels[25:30, 6:12, 3:6] = 1, 4
    write_series(tmp_path / "ct", HU)
    volume = read_scan(tmp_path / "ct")
    labelmap = Labelmap(volume.stored.to_canonical(labels), volume.geometry, volume.stored, {1: "liver", 4: "spleen"})
    job = Job.measured("c", labelmap, reference=tmp_path / "ct")
    (path,) = export(job, tmp_path / ("ct" if beside else "other"), [kind])
    result = run(path, "-o", tmp_path / "labels.nii.gz", *([] if beside else ["--reference", tmp_path / "ct"]))
    assert result.stdout == f"{tmp_path / 'labels.nii.gz'}\n"
    assert "labels: 1 liver, 4 spleen" in result.stderr
    image = nibabel.load(tmp_path / "labels.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj), labels)
    assert np.allclose(image.affine, AXIAL, atol=1e-5)


def test_no_identity_is_written(tmp_path):
    write_series(tmp_path / "ct", HU)
    run(tmp_path / "ct", "-o", tmp_path / "ct.nii")
    data = (tmp_path / "ct.nii").read_bytes()
    assert [value for value in PATIENT.values() if value.encode() in data] == []


def test_a_tilted_series_keeps_its_lean_and_says_so(tmp_path):
    affine = tilted(AXIAL, 14)
    write_series(tmp_path / "ct", HU, affine)
    result = run(tmp_path / "ct", "-o", tmp_path / "ct.nii.gz")
    image = nibabel.load(tmp_path / "ct.nii.gz")
    assert np.allclose(image.affine, affine, atol=1e-5)
    assert "warning: the gantry was tilted by 14.0 degrees" in result.stderr
    assert "--straighten" in result.stderr


def test_straighten_resamples_a_tilted_series_upright(tmp_path):
    affine = tilted(AXIAL @ np.diag([1, 1, 0.8, 1]), 14)
    hu = HU.copy()
    hu[:, :, [0, 1, -2, -1]] = -1000  # what lies in the outer half slices has no neighbours to be interpolated with
    write_series(tmp_path / "ct", hu, affine)
    run(tmp_path / "ct", "-o", tmp_path / "ct.nii.gz", "--straighten")
    image = nibabel.load(tmp_path / "ct.nii.gz")
    assert int(image.header["qform_code"]) == 1
    assert np.allclose(image.affine[:3, :3], np.diag(np.diag(image.affine[:3, :3])), atol=1e-5)
    got, voxel = np.asarray(image.dataobj), abs(np.linalg.det(image.affine[:3, :3]))
    for threshold, least in ((-500, 0.98), (300, 0.9)):
        written = (hu > threshold).sum() * abs(np.linalg.det(affine[:3, :3]))
        kept = (got > threshold).sum() * voxel
        assert least < kept / written < 2 - least
        centre = image.affine @ [*np.argwhere(got > threshold).mean(axis=0), 1]
        assert np.abs(centre - affine @ [*np.argwhere(hu > threshold).mean(axis=0), 1]).max() < 0.7


def test_missing_slices_are_warned_of_and_refused_on_demand(tmp_path):
    write_series(tmp_path / "ct", HU, missing=[3])
    assert "warning: slices missing between -35.0 and -30.0 mm" in run(tmp_path / "ct", "-o", tmp_path / "a.nii").stderr
    result = run(tmp_path / "ct", "-o", tmp_path / "b.nii", "--gaps", "fail")
    assert "--gaps fill" in str(result.exception)
    assert not (tmp_path / "b.nii").exists()


def test_an_output_that_exists_is_kept_unless_overwritten(tmp_path):
    write_series(tmp_path / "ct", HU)
    out = tmp_path / "ct.nii.gz"
    out.write_text("precious")
    assert "--overwrite" in str(run(tmp_path / "ct", "-o", out).exception)
    assert out.read_text() == "precious"
    run(tmp_path / "ct", "-o", out, "--overwrite")
    assert nibabel.load(out).shape == HU.shape


def test_an_output_that_is_no_nifti_is_a_usage_error(tmp_path):
    assert "name it .nii or .nii.gz" in str(run(tmp_path, "-o", tmp_path / "ct.mha").exception)


def test_as_a_process_a_bad_scan_gives_one_line_and_exit_code_3(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"name,age\nJane,70\n")
    command = [sys.executable, "-m", "abdoseg", "convert", str(tmp_path / "scan.nii.gz"), "-o", str(tmp_path / "o.nii")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]
