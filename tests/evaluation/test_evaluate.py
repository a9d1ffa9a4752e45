"""A whole evaluation: missing and extra cases, grids that differ, organs left out."""

import json

import numpy as np
import pytest
from phantom_labels import body, cohort, write

from abdoseg.anatomy.organs import MAIN
from abdoseg.errors import GeometryError, ScanError, UsageError
from abdoseg.evaluation import ReadOptions, evaluate, find_pairs


def run(folders, **kwargs):
    return evaluate(find_pairs(*folders), threads=2, **kwargs)


def test_a_missing_prediction_counts_as_zero_and_an_extra_one_is_named(tmp_path):
    folders = cohort(tmp_path, [0, None])
    write(tmp_path / "pred" / "stranger.nii.gz", body())
    found = run(folders)
    assert [score.confusion.dice for score in found.scores if score.organ == "liver"] == [1, 0]
    assert found.organs[0].metric("dice").mean == 0.5
    assert "1 of 2 cases have no prediction and count as nothing found: c1" in found.warnings
    assert any("stranger.nii.gz" in text for text in found.warnings)


def test_all_grids_that_differ_are_named_with_their_numbers(tmp_path):
    folders = cohort(tmp_path, [0, 0, 0])
    write(tmp_path / "pred" / "c0_seg.nii.gz", body(), spacing=(1.0, 1.0, 2.5))
    shifted = np.diag([1.0, 1.0, 2.0, 1.0])
    shifted[2, 3] = 3.0
    write(tmp_path / "pred" / "c2_seg.nii.gz", body(), affine=shifted)
    with pytest.raises(GeometryError) as caught:
        run(folders)
    assert "2 of 3" in str(caught.value)
    assert "c0: " in str(caught.value)
    assert "3 mm apart" in str(caught.value)
    assert "--resample nearest" in str(caught.value)


def test_all_files_that_cannot_be_read_are_named(tmp_path):
    folders = cohort(tmp_path, [0, 0, 0])
    for name in ("c0", "c2"):
        (tmp_path / "pred" / f"{name}_seg.nii.gz").write_bytes(b"damaged")
    with pytest.raises(ScanError, match=r"2 of 3 cases cannot be read:\n  .*c0_seg.*\n  .*c2_seg"):
        run(folders)


def test_resampling_is_done_by_name_and_reported(tmp_path):
    folders = cohort(tmp_path, [0])
    shifted = np.diag([1.0, 1.0, 2.0, 1.0])
    shifted[2, 3] = 2.0
    write(tmp_path / "pred" / "c0_seg.nii.gz", np.roll(body(), -1, axis=2), affine=shifted)
    found = run(folders, reading=ReadOptions(resample="nearest"))
    assert {score.confusion.dice for score in found.scores} == {1.0}
    assert any("resampled (nearest)" in text for text in found.warnings)


def test_organs_only_in_truths_are_left_out_and_reported_or_counted_when_asked(tmp_path):
    labels = body()
    labels[21:23, 1:3, 1:3] = 6
    folders = cohort(tmp_path, [0], truths=[labels])
    found = run(folders)
    assert "pancreas" not in {score.organ for score in found.scores}
    assert any("pancreas" in text for text in found.warnings)
    counted = run(folders, organs=["liver", "pancreas"])
    assert [(score.organ, score.status) for score in counted.scores] == [
        ("liver", "true_positive"),
        ("pancreas", "false_negative"),
    ]


def test_organs_only_in_predictions_are_left_out_and_reported_or_counted_when_asked(tmp_path):
    labels = body()
    labels[21:23, 1:3, 1:3] = 6
    folders = cohort(tmp_path, [0])
    write(tmp_path / "pred" / "c0_seg.nii.gz", labels)
    found = run(folders)
    assert {score.organ for score in found.scores} == set(MAIN)
    assert "predicted and in no truth, not scored: pancreas; --organs all counts them as wrong" in found.warnings
    counted = run(folders, organs=["pancreas"])
    assert [(score.organ, score.status) for score in counted.scores] == [("pancreas", "false_positive")]


def test_an_organ_with_an_unknown_name_is_refused_before_a_file_is_read(tmp_path):
    folders = cohort(tmp_path, [0])
    (folders[0] / "c0_seg.nii.gz").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="hart"):
        run(folders, organs=["hart"])


def test_schemes_are_matched_by_organ_not_by_number(tmp_path):
    numbers = np.array([0, 1, 2, 13, 3], np.uint8)  # our liver, kidneys, spleen in FLARE22's numbers
    folders = cohort(tmp_path, [0], truths=[numbers[body()]])
    found = run(folders, reading=ReadOptions(truth_scheme="flare22"))
    assert {score.organ: score.confusion.dice for score in found.scores} == dict.fromkeys(
        ["liver", "kidney_right", "kidney_left", "spleen"], 1.0
    )


def test_swapped_sides_and_a_wrong_scheme_are_pointed_at(tmp_path):
    swapped, totalseg = np.array([0, 1, 3, 2, 4], np.uint8), np.array([0, 5, 2, 3, 1], np.uint8)
    found = run(cohort(tmp_path, [0, 0, 2], truths=[swapped[body()], totalseg[body()], body()]))
    swaps = [text for text in found.warnings if "sides are swapped" in text]
    assert [text.split(":")[0] for text in swaps] == [
        "kidney_right of the truth is kidney_left in the prediction (in c0)",
        "kidney_left of the truth is kidney_right in the prediction (in c0)",
        "liver of the truth is spleen in the prediction (in c1)",
    ]


def test_a_tumour_that_fills_its_organ_is_no_other_organ(tmp_path):
    whole = np.where(body() == 1, 5, body()).astype(np.uint8)
    assert not any("swapped" in text for text in run(cohort(tmp_path, [0], truths=[whole])).warnings)


def test_two_empty_maps_have_rows_that_say_so(tmp_path):
    empty = np.zeros((24, 20, 16), np.uint8)
    folders = cohort(tmp_path, [0], truths=[empty])
    write(tmp_path / "pred" / "c0_seg.nii.gz", empty)
    found = run(folders)
    assert {score.status for score in found.scores} == {"true_negative"}
    assert found.organs == ()
    assert any("no organ was compared" in text for text in found.warnings)


def test_predicted_organs_that_the_truth_cannot_name_are_reported(tmp_path):
    liver = np.where(body() == 1, 1, 0).astype(np.uint8)
    found = run(cohort(tmp_path, [0], truths=[liver]), reading=ReadOptions(truth_scheme="msd-liver"))
    assert [score.organ for score in found.scores] == ["liver"]
    assert any("no number for them: kidney_right, kidney_left, spleen" in text for text in found.warnings)


def test_stored_axes_do_not_matter(tmp_path):
    folders = cohort(tmp_path, [1])
    flipped = np.diag([-1.0, 1.0, 2.0, 1.0])
    flipped[0, 3] = 23
    write(tmp_path / "pred" / "c0_seg.nii.gz", body(1)[::-1].copy(), affine=flipped)
    assert run(folders).scores[0].confusion.tp == 448


def test_the_scheme_that_the_record_states_is_read_unless_another_is_named(tmp_path):
    numbers = np.array([0, 1, 2, 13, 3], np.uint8)  # in FLARE22's numbers
    pred, truth = cohort(tmp_path, [0])
    write(pred / "c0_seg.nii.gz", numbers[body()])
    record = {"versions": {"abdoseg": "1"}, "labels": "flare22"}
    (pred / "c0.json").write_text(json.dumps(record))
    assert {score.confusion.dice for score in run((pred, truth)).scores} == {1.0}
    named = run((pred, truth), reading=ReadOptions(prediction_scheme="abdoseg"))
    assert next(score for score in named.scores if score.organ == "kidney_left").confusion.dice == 0
