"""The scans of a folder tree: files, zips, DICOM studies, copies, and what cannot be looked into."""

import errno
import os
import shutil
import zipfile

import numpy as np
import phantom_balls
import pytest
from phantom_dicom import AXIAL, body, write_series

from abdoseg.cohort.find_scans import FoundScan, find_scans, without_duplicates
from abdoseg.cohort.scan_cases import plan_cases
from abdoseg.errors import ScanError
from abdoseg.io import read_scan, write_nifti
from abdoseg.io.archive import Entry


def nifti(path, change=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    volume, _ = phantom_balls.scan()
    volume.voxels[0, 0, 0] -= change
    write_nifti(volume.voxels, volume.stored, path)
    return path


def study(folder, number="1", uid="1.2.3", **more):
    tags = {"StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.{number}", "SeriesNumber": number}
    return write_series(folder, body(), AXIAL, tags=tags, **more)


def zipped(path, folder):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder)
    return path


def names(path):
    return [case.name for case in plan_cases([path], path / "out")]


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


def test_a_dicom_root_with_two_patients_gives_a_case_a_study_named_by_folder(tmp_path):
    study(tmp_path / "a" / "thin", "2", "1.1")
    study(tmp_path / "a" / "thick", "3", "1.1", missing=range(1, 12, 2))
    study(tmp_path / "b" / "DICOM" / "0001", "1", "1.2")
    found = find_scans(tmp_path)
    assert [(scan.path.relative_to(tmp_path).as_posix(), scan.series) for scan in found] == [
        ("a", None), ("b/DICOM/0001", None),
    ]  # fmt: skip
    assert found[0].series_number == "2"  # the thin one, as read_scan chooses in the folder
    assert names(tmp_path) == ["a", "0001"]


def test_two_patients_in_one_flat_folder_are_kept_apart_by_series(tmp_path):
    for number, uid in (("4", "1.1"), ("7", "1.2")):
        for file in study(tmp_path / uid, number, uid):
            (tmp_path / "flat").mkdir(exist_ok=True)
            file.rename(tmp_path / "flat" / f"{uid}-{file.name}")
        shutil.rmtree(tmp_path / uid)
    cases = plan_cases([tmp_path / "flat"], tmp_path / "out")
    assert [case.name for case in cases] == ["flat_s4", "flat_s7"]
    assert [case.series for case in cases] == ["1.1.4", "1.2.7"]
    for case in cases:
        assert read_scan(case.scan, series=case.series).voxels.shape == body().shape


def test_series_without_numbers_are_kept_apart_by_a_digest_and_never_by_who_the_patient_is(tmp_path):
    for uid in ("1.1", "1.2"):
        for file in study(tmp_path / uid, "1", uid):
            (tmp_path / "flat").mkdir(exist_ok=True)
            file.rename(tmp_path / "flat" / f"{uid}-{file.name}")
        shutil.rmtree(tmp_path / uid)
    found = names(tmp_path / "flat")
    assert len(set(found)) == 2
    assert all(name.startswith("flat_s1_") and "Doe" not in name and "4711" not in name for name in found)


def test_all_series_of_a_study_are_cases_when_they_are_wanted(tmp_path):
    study(tmp_path / "p" / "thin", "2")
    study(tmp_path / "p" / "thick", "3", missing=range(1, 12, 2))
    assert len(plan_cases([tmp_path], tmp_path / "out")) == 1
    cases = plan_cases([tmp_path], tmp_path / "out", all_series=True)
    assert [(case.name, case.series) for case in cases] == [("p_s2", "1.2.3.2"), ("p_s3", "1.2.3.3")]


def test_a_folder_of_one_study_is_left_to_its_reader_after_a_few_headers(tmp_path, monkeypatch):
    study(tmp_path)
    read = []
    from abdoseg.io.dicom import headers

    whole = headers.read_slices
    monkeypatch.setattr(headers, "read_slices", lambda entry: read.append(entry) or whole(entry))
    assert find_scans(tmp_path) == [FoundScan(tmp_path, tmp_path)]
    assert 0 < len(read) < 6


def test_copies_are_found_by_series_or_voxels_and_done_once(tmp_path, caplog):
    study(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "backup" / "a")
    nifti(tmp_path / "n.nii.gz")
    nifti(tmp_path / "sub" / "same voxels.nii")
    nifti(tmp_path / "sub" / "other voxels.nii", 1)
    assert names(tmp_path) == ["a", "n", "other voxels"]
    assert f"{tmp_path / 'backup' / 'a'}: the same scan as {tmp_path / 'a'}; it is done once" in caplog.text
    assert "same voxels.nii: the same scan as" in caplog.text


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


def test_a_damaged_member_of_a_zip_is_named_with_its_zip(tmp_path):
    nifti(tmp_path / "f" / "one.nii")
    path = zipped(tmp_path / "f.zip", tmp_path / "f")
    data = bytearray(path.read_bytes())
    data[2000] ^= 255
    path.write_bytes(data)
    for member, message in (("one.nii", "one.nii: damaged member"), ("two.nii", "holds no two.nii")):
        with pytest.raises(ScanError, match=f"f.zip: {message}"):
            FoundScan(path, path, member).source.read()


def test_an_empty_folder_is_left_to_the_reader_to_refuse(tmp_path):
    assert find_scans(tmp_path) == [FoundScan(tmp_path, tmp_path)]
    assert find_scans(tmp_path / "absent") == [FoundScan(tmp_path / "absent", tmp_path / "absent")]


def test_links_in_a_circle_end(tmp_path):
    nifti(tmp_path / "a" / "ct.nii.gz")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert names(tmp_path) == ["ct"]


def test_of_a_file_and_its_copy_the_file_is_done(tmp_path, caplog):
    for name in ("ct (copy).nii.gz", "ct.nii.gz", "ct 2.nii.gz"):
        nifti(tmp_path / name)
    assert names(tmp_path) == ["ct"]
    assert f"{tmp_path / 'ct (copy).nii.gz'}: the same scan as {tmp_path / 'ct.nii.gz'}; it is done once" in caplog.text


def test_labels_in_a_zip_are_left_out_as_in_a_folder(tmp_path, caplog):
    nifti(tmp_path / "f" / "a" / "ct.nii.gz")
    nifti(tmp_path / "f" / "a" / "seg.nii.gz", 1)
    found = find_scans(zipped(tmp_path / "f.zip", tmp_path / "f"))
    assert [scan.member for scan in found] == ["a/ct.nii.gz"]
    assert "f.zip: labels beside their scans are left out (1), such as a/seg.nii.gz" in caplog.text


def test_dicom_that_is_no_ct_is_reported_and_other_files_are_not(tmp_path, caplog):
    study(tmp_path / "ct", company=["dose_report"])
    nifti(tmp_path / "n.nii.gz")
    write_series(tmp_path / "mr", body(), AXIAL, modality="MR")
    (tmp_path / "README").write_text("no image")
    assert names(tmp_path) == ["ct", "n"]
    assert (
        f"{tmp_path}: DICOM files that are no slices of a CT are left out: 12 MR, not CT; "
        "1 dose report or other structured report, not CT"
    ) in caplog.text


def test_a_link_that_leads_nowhere_is_a_case_that_fails(tmp_path):
    nifti(tmp_path / "good.nii.gz")
    (tmp_path / "share").symlink_to(tmp_path / "not mounted")
    found = find_scans(tmp_path)
    assert [scan.path.name for scan in found] == ["good.nii.gz", "share"]
    with pytest.raises(ScanError, match=r"share: no such file or folder \(a link that leads nowhere\)"):
        found[1].source.read()


def gone(path):
    """Opens as a file of a network share that has gone."""
    raise OSError(errno.ESTALE, "Stale file handle", str(path))


def test_a_share_that_goes_while_headers_are_read_costs_its_folders_alone(tmp_path, monkeypatch):
    nifti(tmp_path / "good.nii.gz")
    study(tmp_path / "share" / "p1", uid="1.1")
    study(tmp_path / "local" / "p2", uid="1.2")
    opened = Entry.__init__

    def init(self, name, size, open):
        opened(self, name, size, (lambda: gone(name)) if "IM" in name and "p2" not in name else open)

    monkeypatch.setattr(Entry, "__init__", init)
    found = find_scans(tmp_path)
    assert [scan.path.relative_to(tmp_path).as_posix() for scan in found] == ["good.nii.gz", "local/p2", "share/p1"]
    with pytest.raises(ScanError, match=r"share/p1: IM\d+.dcm: cannot be read \(Stale file handle\)"):
        found[2].source.read()


def test_a_folder_that_goes_after_it_was_listed_is_a_case_that_fails(tmp_path):
    study(tmp_path / "p1", uid="1.1")
    study(tmp_path / "p2", uid="1.2")
    cases = plan_cases([tmp_path], tmp_path / "out")
    shutil.rmtree(tmp_path / "p1")
    with pytest.raises(ScanError, match="p1: no such file or folder"):
        cases[0].source.read()
    assert cases[1].source.read().voxels.shape == body().shape
