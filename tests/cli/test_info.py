"""abdoseg info: one screen, or JSON, on what a scan is."""

import json

import nibabel
import numpy as np
from click.testing import CliRunner
from phantom_dicom import AXIAL, PATIENT, body, write_series

from abdoseg.cli.info import info

HU = body()


def run(*args):
    return CliRunner().invoke(info, [str(arg) for arg in args], standalone_mode=False)


def test_one_screen_says_what_a_series_is(tmp_path):
    write_series(tmp_path, HU, localizer=True, company=["seg"])
    lines = dict(line.split(None, 1) for line in run(tmp_path).stdout.splitlines())
    assert lines["shape"] == "40 x 36 x 12"
    assert lines["spacing"] == "1 x 1 x 2.5 mm"
    assert lines["axes"] == "LPS"
    assert lines["series"] == "1 of 1, 12 slices (the only CT series)"
    assert lines["encoding"] == "Explicit VR Little Endian"
    assert lines["left"] == "out       localizer (1); SEG, not CT (1)"
    assert lines["HU"] == f"{HU.min()} to {HU.max()}"


def test_json_holds_the_same_without_identity(tmp_path):
    write_series(tmp_path, HU, missing=[5])
    result = run(tmp_path, "--json")
    found = json.loads(result.stdout)
    assert found["shape"] == [40, 36, 12]
    assert found["gaps_mm"] == [[-30.0, -25.0, 1]]
    assert found["notes"] == ["slices missing between -30.0 and -25.0 mm (1 missing); 1 of 12 slices are interpolated"]
    assert [value for value in PATIENT.values() if value in result.stdout] == []


def test_several_series_are_listed_with_their_descriptions(tmp_path):
    tags = {"StudyInstanceUID": "1.2.3"}
    write_series(tmp_path / "a", HU, tags=tags)
    write_series(tmp_path / "b", HU[:, :, :6], tags={**tags, "SeriesDescription": "Arterial"})
    out = run(tmp_path).stdout
    assert "1: 12 slices of 40 x 36, 1.00 x 1.00 x 2.50 mm, axial  Abdomen portal venous" in out
    assert "2: 6 slices of 40 x 36, 1.00 x 1.00 x 2.50 mm, axial  Arterial" in out
    assert "shape          40 x 36 x 6" in run(tmp_path, "--series", "2").stdout


def test_a_nifti_file_has_its_screen_too(tmp_path):
    nibabel.save(nibabel.Nifti1Image(HU, AXIAL), tmp_path / "a.nii.gz")
    out = run(tmp_path / "a.nii.gz").stdout
    assert "format         NIfTI-1" in out
    assert f"HU             {HU.min()} to {HU.max()}" in out
    assert "to segment     about" in out
    assert np.array_equal(HU, body())
