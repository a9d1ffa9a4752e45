"""Splits: nobody on both sides, the same for the same seed, and small changes change little."""

import json

import pytest

from abdoseg.errors import DatasetError
from abdoseg.training.data.splits import by_file, by_fold, by_fraction, by_names, subsample

PATIENTS = {f"scan{n}": f"patient{n // 2}" for n in range(20)}  # two scans each


def sides(split):
    return {PATIENTS[case] for case in split.train}, {PATIENTS[case] for case in split.validate}


@pytest.mark.parametrize(
    "split", [by_fraction(PATIENTS, 0.3, 1), by_fold(PATIENTS, 5, 2, 0), by_names(PATIENTS, ["scan4"])]
)
def test_no_patient_is_on_both_sides(split):
    train, validate = sides(split)
    assert not train & validate and len(split.train) + len(split.validate) == 20 and validate


def test_a_fraction_is_of_patients_and_at_least_one():
    assert len(by_fraction(PATIENTS, 0.3, 1).validate) == 6
    assert len(by_fraction({"a": "a", "b": "b"}, 0.1, 0).validate) == 1
    assert by_fraction(PATIENTS, 0.0, 0).validate == ()


def test_the_seed_decides_and_the_order_of_the_cases_does_not():
    backwards = dict(reversed(PATIENTS.items()))
    assert by_fraction(PATIENTS, 0.3, 1) == by_fraction(backwards, 0.3, 1) != by_fraction(PATIENTS, 0.3, 2)


def test_folds_validate_every_case_once():
    held = [case for fold in range(1, 6) for case in by_fold(PATIENTS, 5, fold, 0).validate]
    assert sorted(held) == sorted(PATIENTS)


def test_impossible_folds_are_refused():
    with pytest.raises(DatasetError, match="10 patients cannot make 11 folds"):
        by_fold(PATIENTS, 11, 1, 0)
    with pytest.raises(DatasetError, match="folds count from 1"):
        by_fold(PATIENTS, 5, 6, 0)


def test_a_file_may_be_a_runs_split_or_a_list(tmp_path):
    split = by_names(PATIENTS, ["scan4"])
    assert split.validate == ("scan4", "scan5")
    (tmp_path / "split.json").write_text(split.to_json())
    (tmp_path / "list.txt").write_text("scan4\n\nscan5\n")
    for name in ("split.json", "list.txt"):
        assert by_file(PATIENTS, tmp_path / name).validate == split.validate
    (tmp_path / "bad.json").write_text(json.dumps({"val": []}))
    with pytest.raises(DatasetError, match="no split"):
        by_file(PATIENTS, tmp_path / "bad.json")


def test_a_name_that_is_not_there_is_reported_with_those_that_are():
    with pytest.raises(DatasetError, match=r"no such validation case: scan99; the cases are scan0"):
        by_names(PATIENTS, ["scan99"])


def test_smaller_training_sets_lie_in_larger_ones():
    split = by_names(PATIENTS, ["scan4"])
    sets = [set(subsample(split, PATIENTS, count, 7).train) for count in (1, 2, 4)]
    assert [len(s) for s in sets] == [2, 4, 8] and sets[0] < sets[1] < sets[2]
    with pytest.raises(DatasetError, match="there are 9"):
        subsample(split, PATIENTS, 10, 0)
