"""Scans that were found: copies are known, and a damaged one is named."""

import shutil

import pytest
from trees import names, nifti, study, zipped

from abdoseg.cohort.found_scan import FoundScan
from abdoseg.errors import ScanError


def test_copies_are_found_by_series_or_voxels_and_done_once(tmp_path, caplog):
    study(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "backup" / "a")
    nifti(tmp_path / "n.nii.gz")
    nifti(tmp_path / "sub" / "same voxels.nii")
    nifti(tmp_path / "sub" / "other voxels.nii", 1)
    assert names(tmp_path) == ["a", "n", "other voxels"]
    assert f"{tmp_path / 'backup' / 'a'}: the same scan as {tmp_path / 'a'}; it is done once" in caplog.text
    assert "same voxels.nii: the same scan as" in caplog.text


def test_a_damaged_member_of_a_zip_is_named_with_its_zip(tmp_path):
    nifti(tmp_path / "f" / "one.nii")
    path = zipped(tmp_path / "f.zip", tmp_path / "f")
    data = bytearray(path.read_bytes())
    data[2000] ^= 255
    path.write_bytes(data)
    for member, message in (("one.nii", "one.nii: damaged member"), ("two.nii", "holds no two.nii")):
        with pytest.raises(ScanError, match=f"f.zip: {message}"):
            FoundScan(path, path, member).source.read()


def test_of_a_file_and_its_copy_the_file_is_done(tmp_path, caplog):
    for name in ("ct (copy).nii.gz", "ct.nii.gz", "ct 2.nii.gz"):
        nifti(tmp_path / name)
    assert names(tmp_path) == ["ct"]
    assert f"{tmp_path / 'ct (copy).nii.gz'}: the same scan as {tmp_path / 'ct.nii.gz'}; it is done once" in caplog.text
