"""The DICOM SR, read back by highdicom: what was measured, of what, and where it lies."""

import shutil
import subprocess
import warnings
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from test_dicom_outputs import SHAPE, case, drawn_labels

from abdoseg.errors import OutputError, UsageError
from abdoseg.exporters.job import ExportOptions, Job, export
from abdoseg.io import read_scan


def read(path):
    """By name for people: each measurement group's values by what they are, and the group."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = highdicom.sr.srread(path).content
    groups = [*content.get_volumetric_roi_measurement_groups(), *content.get_image_measurement_groups()]
    return {group.tracking_identifier: (values(group), group) for group in groups}


def values(group):
    return {item.name.meaning: (item.value, item.unit.value) for item in group.get_measurements()}


@pytest.fixture
def job(tmp_path):
    made = case(tmp_path / "ct")
    return Job.measured(made.case, made.labelmap, read_scan(tmp_path / "ct"), reference=made.reference)


def test_organs_have_volume_and_mean_hu_and_the_segment_that_they_are(job, tmp_path):
    seg, sr = export(job, tmp_path, ["dicom-seg", "dicom-sr"])
    groups, segments = read(sr), pydicom.dcmread(seg)
    for row in job.found:
        found, group = groups[row.organ.replace("kidney_right", "right kidney").replace("kidney_left", "left kidney")
                              .replace("_", " ")]  # fmt: skip
        assert found["Volume"] == (pytest.approx(row.volume_ml, rel=1e-5), "mL")
        assert found["Attenuation Coefficient"] == (pytest.approx(row.mean_hu, rel=1e-5, abs=1e-5), "[hnsf'U]")
        reference = group.referenced_segment
        assert reference.referenced_sop_instance_uid == segments.SOPInstanceUID
        assert reference.referenced_sop_class_uid == segments.SOPClassUID
        segment = segments.SegmentSequence[reference.referenced_segment_numbers[0] - 1]
        assert segment.TrackingUID == group.tracking_uid


def test_findings_and_sites_are_coded(job, tmp_path):
    (sr,) = export(job, tmp_path, ["dicom-sr"])
    groups = read(sr)
    kidney, tumour = groups["right kidney"][1], groups["liver tumour 1"][1]
    assert (kidney.finding_type.value, kidney.finding_category.value) == ("64033007", "123037004")
    assert kidney.finding_sites[0].laterality.meaning == "Right"
    assert (tumour.finding_type.meaning, tumour.finding_sites[0].topographical_modifier) == ("Neoplasm", None)
    assert tumour.finding_sites[0].value.meaning == "Liver"


@pytest.mark.parametrize("apart", [False, True])
def test_lesions_have_their_diameters_and_a_segment_only_where_they_are_apart(job, tmp_path, apart):
    job = replace(job, options=ExportOptions(lesions_apart=apart)).with_lesions()
    (sr,) = export(job, tmp_path, ["dicom-sr"])
    found, group = read(sr)["liver tumour 1"]
    (lesion,) = job.lesions
    assert found["Volume"][0] == pytest.approx(lesion.volume_ml, rel=1e-5)
    assert found["Long axis"] == (pytest.approx(lesion.longest_axial_mm, rel=1e-5), "mm")
    assert found["Short axis"] == (pytest.approx(lesion.perpendicular_mm, rel=1e-5), "mm")
    assert found["Maximum 3D diameter"] == (pytest.approx(lesion.longest_3d_mm, rel=1e-5), "mm")
    assert hasattr(group, "referenced_segment") == apart
    assert ("liver tumour" in read(sr)) == (not apart)


def test_it_is_filed_with_its_scan_and_lists_all_that_it_rests_on(job, tmp_path):
    (sr,) = export(job, tmp_path, ["dicom-sr"])
    dataset, first = pydicom.dcmread(sr), pydicom.dcmread(next((tmp_path / "ct").iterdir()))
    for keyword in ("PatientID", "StudyInstanceUID", "StudyDate"):
        assert dataset.get(keyword) == first.get(keyword)
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    listed = {series.SeriesInstanceUID: len(series.ReferencedSOPSequence) for series in study.ReferencedSeriesSequence}
    assert listed[first.SeriesInstanceUID] == SHAPE[2]
    assert len(listed) == 2
    assert (dataset.CompletionFlag, dataset.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def test_without_a_scan_there_is_no_hu_and_without_organs_or_series_no_report(job, tmp_path):
    (sr,) = export(replace(job, rows=case(tmp_path / "ct2").rows), tmp_path, ["dicom-sr"])
    assert list(read(sr)["liver"][0]) == ["Volume"]
    empty = case(tmp_path / "ct3", labels=np.zeros(SHAPE, np.uint8))
    with pytest.raises(OutputError, match="at least one"):
        list(export(empty, tmp_path / "b", ["dicom-sr"]))
    with pytest.raises(UsageError, match="--reference"):
        list(export(replace(job, reference=None), tmp_path / "c", ["dicom-sr"]))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("apart", [False, True])
def test_dciodvfy_finds_no_error_in_lesions(tmp_path, apart):
    labels = drawn_labels()
    labels[17:19, 10:12, 1:3] = 5
    job = replace(case(tmp_path / "ct", labels=labels), options=ExportOptions(lesions_apart=apart))
    for file in export(job, tmp_path, ["dicom-seg", "rtstruct", "dicom-sr"]):
        found = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
        assert "Error" not in found.stderr + found.stdout, file
