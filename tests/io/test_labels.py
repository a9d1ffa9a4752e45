"""Label files of any scheme become labelmaps with our numbers, by organ name."""

import json
import logging
import struct

import nibabel
import numpy as np
import pytest

from abdoseg.errors import ScanError, UsageError
from abdoseg.io import case_name, read_labels


def save(path, array, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2, 3, 1]) if affine is None else affine), path)
    return path


def test_a_scale_that_only_rounding_keeps_from_whole_numbers_is_read(tmp_path):
    path = save(tmp_path / "a.nii", np.full((2, 2, 2), 30, np.int16))
    with path.open("r+b") as file:
        file.seek(112)  # scl_slope
        file.write(struct.pack("<f", 0.1))
    assert (read_labels(path).labels == 3).all()


def test_numbers_are_mapped_by_organ_name(tmp_path):
    numbers = np.zeros((4, 3, 2), np.uint8)
    numbers[:, 0, 0] = [1, 2, 3, 13]  # FLARE22: liver, kidney_right, spleen, kidney_left
    labelmap = read_labels(save(tmp_path / "a.nii.gz", numbers), "flare22")
    assert labelmap.labels[:, 0, 0].tolist() == [1, 2, 4, 3]
    assert labelmap.labels.dtype == np.uint8
    assert labelmap.organs[4] == "spleen"
    assert labelmap.mask("kidney_left")[3, 0, 0]


def test_labels_come_in_canonical_axes(tmp_path):
    numbers = np.zeros((4, 3, 2), np.uint8)
    numbers[0, 0, 0] = 1
    labelmap = read_labels(save(tmp_path / "a.nii", numbers, np.diag([-2.0, -2, 3, 1])))
    assert labelmap.labels[3, 2, 0] == 1


def record(scheme):
    return {"versions": {"abdoseg": "0"}, "labels": scheme}


@pytest.mark.parametrize(
    ("beside", "content"),
    [("a.json", {"liver": 1, "spleen": 4}), ("a.json", record("abdoseg")), ("a.json", {"liver": 1, "rib": 9})],
)
def test_a_scheme_that_a_file_beside_the_labels_contradicts_is_said(tmp_path, beside, content, caplog):
    numbers = np.zeros((4, 3, 2), np.uint8)
    numbers[0, 0, 0] = 1
    path = save(tmp_path / "a_seg.nii.gz", numbers)
    (tmp_path / beside).write_text(json.dumps(content))
    assert read_labels(path).labels.max() == 1  # where they agree, whatever they call other numbers
    assert read_labels(path, {1: "spleen"}).labels.max() == 4  # what a program says
    assert not caplog.text
    assert read_labels(path, "totalseg", warn=False).labels.max() == 4
    assert f"{path}: read as totalseg, but a.json beside it says that 1 is liver, not spleen\n" in caplog.text


@pytest.mark.parametrize(
    "content", [{"KVP": 120, "spleen": 7}, record("totalseg"), {"liver": "x"}, [1], record("none"), {"liver": 5}]
)
def test_a_file_beside_the_labels_that_says_nothing_else_of_their_numbers_is_passed_over(tmp_path, content, caplog):
    path = save(tmp_path / "a.nii.gz", np.ones((4, 3, 2), np.uint8))
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_labels(path, "totalseg").labels.max() == 4
    assert not caplog.text


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_any_number_type_holds_labels(tmp_path, dtype):
    labelmap = read_labels(save(tmp_path / "a.nii", np.full((2, 2, 2), 4, dtype)))
    assert set(labelmap.labels.ravel()) == {4}


def test_organs_that_are_not_ours_become_background_and_strange_labels_are_named(tmp_path, caplog):
    numbers = np.zeros((4, 3, 2), np.int16)
    numbers[:, 0, 0] = [51, 5, 300, 0]  # TotalSegmentator: heart, liver, and one that nobody has
    with caplog.at_level(logging.WARNING, "abdoseg"):
        labelmap = read_labels(save(tmp_path / "a.nii", numbers), "totalseg")
    assert labelmap.labels[:, 0, 0].tolist() == [0, 1, 0, 0]
    assert "labels 300 are not in its scheme" in caplog.text


@pytest.mark.parametrize("mirrored", [1, -1])
def test_one_label_for_both_kidneys_is_split_by_side(tmp_path, mirrored):
    numbers = np.zeros((100, 10, 10), np.uint8)  # 2 mm: 200 mm from left to right
    numbers[20:35], numbers[65:85] = 1, 1
    affine = np.diag([2.0 * mirrored, 2, 3, 1])
    labels = read_labels(save(tmp_path / "a.nii", numbers, affine), "kits").labels
    labels = labels[::mirrored]  # back in the file's axes
    lower, upper = ("kidney_left", "kidney_right") if mirrored == 1 else ("kidney_right", "kidney_left")
    numbers_of = {"kidney_right": 2, "kidney_left": 3}
    assert set(labels[20:35].ravel()) == {numbers_of[lower]}
    assert set(labels[65:85].ravel()) == {numbers_of[upper]}


def test_a_kidney_that_is_alone_belongs_to_its_side_of_the_middle(tmp_path):
    numbers = np.zeros((100, 4, 4), np.uint8)
    numbers[60:85] = 1
    labelmap = read_labels(save(tmp_path / "a.nii", numbers), "kits")
    assert set(labelmap.labels.ravel()) == {0, 2}
    assert labelmap.organs == {2: "kidney_right", 3: "kidney_left"}


def test_no_kidney_at_all_is_no_error(tmp_path):
    assert not read_labels(save(tmp_path / "a.nii", np.zeros((4, 4, 4), np.uint8)), "kits").labels.any()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-3, "no label numbers"),
        (0.5, "fractions"),
        (70000, "no label numbers"),
        (np.nan, "no label numbers; 1 voxels were no numbers .NaN"),
    ],
)
def test_a_scan_is_not_taken_for_labels(tmp_path, value, words):
    array = np.zeros((2, 2, 2), np.float32)
    array[0, 0, 0] = value
    with pytest.raises(ScanError, match=words):
        read_labels(save(tmp_path / "a.nii", array))


def test_an_unknown_scheme_lists_the_known(tmp_path):
    with pytest.raises(UsageError, match=r"no label scheme 'brats'; there are abdoseg, flare22"):
        read_labels(save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8)), "brats")


def test_a_dicom_folder_holds_no_labels(tmp_path):
    with pytest.raises(ScanError, match="the folder is empty"):
        read_labels(tmp_path)


@pytest.mark.parametrize(
    ("path", "case"),
    [
        ("a/liver_0000.nii.gz", "liver"),
        ("scan.nii", "scan"),
        ("scan.NII.GZ", "scan"),
        ("ct_0001.mha", "ct_0001"),
        ("export.zip", "export"),
        ("folder/", "folder"),
        ("v1.2/CT.1.2.dcm", "CT.1.2"),
        ("case_0000", "case"),
        ("name.with.dots.nrrd", "name.with.dots"),
        (".nii.gz", ".nii.gz"),
        ("_0000.nii.gz", "_0000"),
    ],
)
def test_a_case_is_named_after_its_file(path, case):
    assert case_name(path) == case


def test_a_case_of_the_folder_above_has_that_folders_name(tmp_path, monkeypatch):
    (tmp_path / "patient" / "scripts").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "patient" / "scripts")
    assert case_name("..") == "patient"
