"""Which prediction belongs to which truth, whatever the files are called."""

import pytest

from abdoseg.errors import DatasetError
from abdoseg.evaluation.pairs import case_of, find_pairs


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "name",
    ["c1.nii", "c1.nii.gz", "c1_0000.nii.gz", "c1_seg.nii.gz", "c1_SEG.nii", "c1.mha", "c1.nrrd", "c1_0000_seg.nii.gz",
     "c1_label.nii.gz", "c1-labels.nii.gz", "c1_gt.nii.gz", "c1_pred.nii.gz", "c1_ct.nii.gz"],
)  # fmt: skip
def test_one_case_has_many_file_names(tmp_path, name):
    assert case_of(tmp_path / name) == "c1"


def test_a_case_may_be_called_like_an_ending(tmp_path):
    assert case_of(tmp_path / "seg.nii.gz") == "seg"
    assert case_of(tmp_path / "patient_2.nii.gz") == "patient_2"


def test_the_truth_gives_the_list_and_extras_are_named(tmp_path):
    pred = touch(tmp_path / "pred", "a_seg.nii.gz", "x_seg.nii.gz", "a_volumes.csv", "a.json", ".b.nii.gz")
    truth = touch(tmp_path / "gt", "a.nii.gz", "b_0000.nii")
    found = find_pairs(pred, truth)
    assert [(pair.case, pair.prediction and pair.prediction.name) for pair in found.pairs] == [
        ("a", "a_seg.nii.gz"),
        ("b", None),
    ]
    assert found.missing == ("b",)
    assert [path.name for path in found.extra] == ["x_seg.nii.gz"]


def test_two_files_are_a_pair_whatever_they_are_called(tmp_path):
    touch(tmp_path, "mine.nii.gz", "theirs.nii.gz")
    found = find_pairs(tmp_path / "mine.nii.gz", tmp_path / "theirs.nii.gz")
    assert [(pair.case, pair.prediction.name) for pair in found.pairs] == [("theirs", "mine.nii.gz")]


def test_two_files_of_one_case_are_refused_by_name(tmp_path):
    pred = touch(tmp_path / "pred", "a.nii.gz", "a_seg.nii.gz")
    with pytest.raises(DatasetError, match=r"a\.nii\.gz and a_seg\.nii\.gz are both case 'a'"):
        find_pairs(pred, touch(tmp_path / "gt", "a.nii.gz"))


def test_a_scan_beside_its_labels_is_none_and_one_alone_is_taken_at_its_word(tmp_path):
    truth = touch(tmp_path / "gt", "a_ct.nii.gz", "a_seg.nii.gz", "b.nii.gz", "b_0000.nii.gz", "c_0000.nii.gz")
    found = find_pairs(touch(tmp_path / "pred", "a_ct_seg.nii.gz", "c_seg.nii.gz"), truth)
    assert [pair.truth.name for pair in found.pairs] == ["a_seg.nii.gz", "b.nii.gz", "c_0000.nii.gz"]
    assert found.missing == ("b",)


def test_folders_without_a_common_case_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="PREDICTIONS TRUTHS"):
        find_pairs(touch(tmp_path / "pred", "a.nii.gz"), touch(tmp_path / "gt", "b.nii.gz"))


def test_an_empty_folder_of_predictions_misses_every_case(tmp_path):
    found = find_pairs(touch(tmp_path / "pred"), touch(tmp_path / "gt", "a.nii.gz", "b.nii.gz"))
    assert found.missing == ("a", "b")


def test_a_folder_of_predictions_that_holds_folders_alone_is_refused(tmp_path):
    truths = touch(tmp_path / "gt", "a.nii.gz")
    touch(tmp_path / "pred" / "a", "liver.nii.gz")
    with pytest.raises(DatasetError, match=r"pred: holds folders \(a\) and no label files"):
        find_pairs(tmp_path / "pred", truths)


def test_no_truths_and_no_folder_are_reported(tmp_path):
    pred = touch(tmp_path / "pred", "a.nii.gz")
    with pytest.raises(DatasetError, match="no label files"):
        find_pairs(pred, touch(tmp_path / "gt", "notes.txt"))
    with pytest.raises(DatasetError, match="no such"):
        find_pairs(pred, tmp_path / "nowhere")
