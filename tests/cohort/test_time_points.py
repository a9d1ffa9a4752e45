"""Cases of two folders are paired by name; two single ones whatever they are called."""

import json

import numpy as np
import pytest
from phantom_labels import body, write

from abdoseg.cohort.time_points import open_time_point, pair_cases
from abdoseg.errors import DatasetError
from abdoseg.exporters.open_case import CaseFiles


def results(folder, *cases):
    """Labelmaps with records, and an export beside each that is no labelmap of its own."""
    for case in cases:
        write(folder / f"{case}_seg.nii.gz", body())
        (folder / f"{case}_seg.dcm").write_bytes(b"")
        record = {"versions": {"abdoseg": "0"}, "labels": "abdoseg", "model": {"organs": ["liver", "liver_tumour"]}}
        (folder / f"{case}.json").write_text(json.dumps(record))
    return folder


def test_cases_are_paired_by_name_and_those_of_one_folder_alone_are_said(tmp_path):
    pairs, alone = pair_cases(
        results(tmp_path / "b", "one", "two", "three"), results(tmp_path / "a", "two", "one", "four")
    )
    assert [(pair.case, pair.before.parent.name, pair.after.name) for pair in pairs] == [
        ("one", "b", "one_seg.nii.gz"),
        ("two", "b", "two_seg.nii.gz"),
    ]
    assert alone == ["three: only before, not compared", "four: only after, not compared"]


def test_two_single_cases_are_a_pair_whatever_they_are_called(tmp_path):
    b, a = results(tmp_path / "b", "p_2024"), results(tmp_path / "a", "p_2025", "q")
    (pair,), alone = pair_cases(b, a / "p_2025.json")
    assert (pair.case, pair.after.name, alone) == ("p_2024 and p_2025", "p_2025_seg.nii.gz", [])
    (pair,), _ = pair_cases(write(tmp_path / "x.nii.gz", body()), a / "q_seg.nii.gz")
    assert pair.case == "x and q"


def test_folders_without_a_common_name_are_refused(tmp_path):
    b, a = results(tmp_path / "b", "one", "two"), results(tmp_path / "a", "three")
    with pytest.raises(DatasetError, match=r"no case of .*b \(one, two\) has a name that is in .*a \(three\)"):
        pair_cases(b, a)
    with pytest.raises(DatasetError, match="no such file"):
        pair_cases(b, tmp_path / "none")


def test_a_record_says_whether_lesions_were_looked_for(tmp_path):
    folder = results(tmp_path, "one")
    assert open_time_point(folder / "one_seg.nii.gz", CaseFiles()).lesions == ()
    bare = write(tmp_path / "bare.nii.gz", body())
    assert open_time_point(bare, CaseFiles()).lesions is None
    labels = body()
    labels[4, 10, 6] = 5
    ill = write(tmp_path / "ill.nii.gz", labels)
    assert len(open_time_point(ill, CaseFiles()).lesions) == 1
    assert np.isclose(open_time_point(ill, CaseFiles()).rows[0].with_lesions_ml, 512 * 2 / 1000)
