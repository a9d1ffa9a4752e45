"""The scans of a folder tree: files, zips, links, and what cannot be looked into."""

import os
import shutil

import numpy as np
import phantom_balls
import pytest
from phantom_dicom import body
from trees import names, nifti, study, zipped

from abdoseg.cohort.find_scans import find_scans
from abdoseg.cohort.found_scan import FoundScan, without_duplicates
from abdoseg.cohort.scan_cases import plan_cases
from abdoseg.errors import ScanError


def test_patient_folders_of_nifti_are_descended(tmp_path):
    for n, patient in enumerate(("p1", "p2")):
        nifti(tmp_path / patient / "ct.nii.gz", n)
    (tmp_path / "p1" / "notes.txt").write_text("none of ours")
    (tmp_path / ".hidden").mkdir()
    nifti(tmp_path / ".hidden" / "ct.nii.gz", 5)
    assert names(tmp_path) == ["p1_ct", "p2_ct"]


@pytest.mark.parametrize(
    ("scan", "labels"),
    [("a_ct.nii.gz", "a_seg.nii.gz"), ("images/a_0000.nii.gz", "labels/a.nii.gz"), ("p/ct.nii.gz", "p/seg.nii.gz")],
)
def test_labels_beside_their_scans_are_left_out_and_reported(tmp_path, caplog, scan, labels):
    nifti(tmp_path / scan)
    nifti(tmp_path / labels, 1)
    assert [found.path for found in find_scans(tmp_path)] == [tmp_path / scan]
    assert f"labels beside their scans are left out (1), such as {labels}" in caplog.text


@pytest.mark.parametrize("scans", [("arterial/p1", "venous/p1"), ("p1/pre", "p2/pre"), ("p1", "later/p1")])
def test_two_scans_of_one_name_are_two_scans(tmp_path, scans, caplog):
    paths = [nifti(tmp_path / f"{name}.nii.gz", n) for n, name in enumerate(scans)]
    assert sorted(scan.path for scan in find_scans(tmp_path)) == sorted(paths)
    assert not caplog.records


def test_what_a_run_left_among_the_scans_is_no_scan(tmp_path):
    nifti(tmp_path / "ct.nii.gz")
    nifti(tmp_path / "ct_seg.nii.gz", 1)
    (tmp_path / "ct.json").write_text("{}")
    nifti(tmp_path / "out" / "other.nii.gz", 2)
    assert names(tmp_path) == ["ct"]


def test_scans_that_are_named_are_never_left_out(tmp_path):
    paths = [nifti(tmp_path / "a.nii.gz"), nifti(tmp_path / "b.nii.gz")]
    assert [case.name for case in plan_cases(paths, tmp_path / "out")] == ["a", "b"]


def test_zips_of_dicom_and_of_nifti_are_looked_into(tmp_path):
    nifti(tmp_path / "files" / "x" / "one.nii.gz")
    nifti(tmp_path / "files" / "two.nii.gz", 1)
    (tmp_path / "files" / "__MACOSX").mkdir()
    (tmp_path / "files" / "__MACOSX" / "._two.nii.gz").write_text("?")
    zipped(tmp_path / "files.zip", tmp_path / "files")
    study(tmp_path / "series", uid="1.7")
    zipped(tmp_path / "dicom.zip", tmp_path / "series")
    cases = plan_cases([tmp_path], tmp_path / "out")
    assert [(case.name, case.member, case.series) for case in cases] == [
        ("dicom", None, None), ("two", "two.nii.gz", None), ("one", "x/one.nii.gz", None),
    ]  # fmt: skip
    voxels = FoundScan(cases[2].scan, cases[2].scan, cases[2].member).source.read().voxels
    np.testing.assert_array_equal(voxels, phantom_balls.scan()[0].voxels)


def test_what_cannot_be_looked_into_stands_for_itself(tmp_path):
    nifti(tmp_path / "good.nii.gz")
    (tmp_path / "bad.nii.gz").write_text("no scan")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and no more")
    found = find_scans(tmp_path)
    assert [scan.path.name for scan in found] == ["bad.nii.gz", "bad.zip", "good.nii.gz"]
    assert without_duplicates(found) == (found, [])
    with pytest.raises(ScanError, match=r"bad.nii.gz"):
        found[0].source.grid()
    assert found[2].source.grid().geometry.shape == (80, 60, 40)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may enter any folder")
def test_a_folder_without_permission_is_a_case_that_fails(tmp_path):
    nifti(tmp_path / "good.nii.gz")
    (tmp_path / "locked").mkdir(mode=0)
    assert [scan.path.name for scan in find_scans(tmp_path)] == ["good.nii.gz", "locked"]
    (tmp_path / "locked").chmod(0o700)


def test_an_empty_folder_is_left_to_the_reader_to_refuse(tmp_path):
    assert find_scans(tmp_path) == [FoundScan(tmp_path, tmp_path)]
    assert find_scans(tmp_path / "absent") == [FoundScan(tmp_path / "absent", tmp_path / "absent")]


def test_links_in_a_circle_end(tmp_path):
    nifti(tmp_path / "a" / "ct.nii.gz")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert names(tmp_path) == ["ct"]


def test_labels_in_a_zip_are_left_out_as_in_a_folder(tmp_path, caplog):
    nifti(tmp_path / "f" / "a" / "ct.nii.gz")
    nifti(tmp_path / "f" / "a" / "seg.nii.gz", 1)
    found = find_scans(zipped(tmp_path / "f.zip", tmp_path / "f"))
    assert [scan.member for scan in found] == ["a/ct.nii.gz"]
    assert "f.zip: labels beside their scans are left out (1), such as a/seg.nii.gz" in caplog.text


def test_a_link_that_leads_nowhere_is_a_case_that_fails(tmp_path):
    nifti(tmp_path / "good.nii.gz")
    (tmp_path / "share").symlink_to(tmp_path / "not mounted")
    found = find_scans(tmp_path)
    assert [scan.path.name for scan in found] == ["good.nii.gz", "share"]
    with pytest.raises(ScanError, match=r"share: no such file or folder \(a link that leads nowhere\)"):
        found[1].source.read()


def test_a_folder_that_goes_after_it_was_listed_is_a_case_that_fails(tmp_path):
    study(tmp_path / "p1", uid="1.1")
    study(tmp_path / "p2", uid="1.2")
    cases = plan_cases([tmp_path], tmp_path / "out")
    shutil.rmtree(tmp_path / "p1")
    with pytest.raises(ScanError, match="p1: no such file or folder"):
        cases[0].source.read()
    assert cases[1].source.read().voxels.shape == body().shape
