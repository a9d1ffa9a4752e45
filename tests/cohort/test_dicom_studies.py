"""The DICOM studies of a folder tree: by folder or by series, their number, what is no CT, what cannot be read."""

import errno
import shutil

import pytest
from phantom_dicom import AXIAL, body, write_series
from trees import names, nifti, study, zipped

from abdoseg.cohort.find_scans import find_scans
from abdoseg.cohort.found_scan import FoundScan
from abdoseg.cohort.scan_cases import plan_cases
from abdoseg.errors import ScanError
from abdoseg.io import read_scan
from abdoseg.io.archive import Entry


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


def test_all_series_of_a_zipped_study_are_each_read(tmp_path):
    study(tmp_path / "f" / "thin", "2")
    study(tmp_path / "f" / "thick", "3", missing=range(1, 12, 2))
    path = zipped(tmp_path / "p.zip", tmp_path / "f")
    assert [(case.name, case.series) for case in plan_cases([path], tmp_path / "out")] == [("p", None)]
    cases = plan_cases([path], tmp_path / "out", all_series=True)
    slices = [(case.name, case.source.read().voxels.shape[2]) for case in cases]
    assert slices == [("p_s2", 12), ("p_s3", 6)]


def test_a_folder_of_one_study_is_left_to_its_reader_after_a_few_headers(tmp_path, monkeypatch):
    study(tmp_path)
    read = []
    from abdoseg.io.dicom import headers

    whole = headers.read_slices
    monkeypatch.setattr(headers, "read_slices", lambda entry: read.append(entry) or whole(entry))
    assert find_scans(tmp_path) == [FoundScan(tmp_path, tmp_path)]
    assert 0 < len(read) < 6


def test_dicom_that_is_no_ct_is_reported_and_other_files_are_not(tmp_path, caplog):
    study(tmp_path / "ct", company=["dose_report"])
    nifti(tmp_path / "n.nii.gz")
    write_series(tmp_path / "mr", body(), AXIAL, modality="MR")
    (tmp_path / "README").write_text("no image")
    assert names(tmp_path) == ["ct", "n"]
    assert (
        f"{tmp_path}: DICOM files that are no slices of a CT are left out: MR, not CT (12); "
        "dose report or other structured report, not CT (1)"
    ) in caplog.text


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
