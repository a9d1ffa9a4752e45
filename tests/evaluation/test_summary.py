"""Statistics over cases and organs, against numpy."""

import math

import numpy as np
import pytest
from phantom_labels import body, cohort, write

from abdoseg.evaluation import evaluate, find_pairs
from abdoseg.evaluation.summary import bootstrap_interval


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return evaluate(find_pairs(*cohort(tmp_path_factory.mktemp("cohort"), [0, 1, 2, None])), threads=2)


def test_statistics_are_those_of_numpy(evaluation):
    liver = evaluation.organs[0]
    values = np.array([1, 7 / 8, 6 / 8, 0])  # a box eight voxels wide, moved by 0, 1, 2; and a missing one
    dice = liver.metric("dice")
    assert (dice.n, dice.infinite) == (4, 0)
    assert dice.mean == pytest.approx(values.mean())
    assert dice.sd == pytest.approx(values.std(ddof=1))
    assert (dice.lower_quartile, dice.median, dice.upper_quartile) == pytest.approx(
        tuple(np.percentile(values, [25, 50, 75]))
    )
    assert (dice.worst, dice.worst_case) == (0, "c3")
    assert dice.low < dice.mean < dice.high
    assert (liver.failures, liver.failure_rate) == (1, 0.25)


def test_infinite_distances_leave_no_mean_and_count_in_the_quartiles(evaluation):
    hausdorff = evaluation.organs[0].metric("hausdorff_mm")
    assert (hausdorff.n, hausdorff.infinite) == (4, 1)
    assert all(math.isnan(value) for value in (hausdorff.mean, hausdorff.sd, hausdorff.low, hausdorff.high))
    assert hausdorff.median == pytest.approx(1.5)
    assert hausdorff.upper_quartile == math.inf
    assert (hausdorff.worst, hausdorff.worst_case) == (math.inf, "c3")
    assert hausdorff.text == "1.50 median, 1 of 4 inf"


def test_the_pooled_confusion_is_the_sum_of_the_cases(evaluation):
    pooled = evaluation.organs[0].pooled
    assert pooled.tp == 512 + 448 + 384
    assert pooled.truth == 4 * 512
    assert evaluation.histogram.sum() == 4 * 24 * 20 * 16
    assert evaluation.histogram[1, 1] == pooled.tp


def test_the_overall_row_is_the_mean_over_organs(evaluation):
    overall = evaluation.overall
    assert overall.dice == pytest.approx(np.mean([organ.metric("dice").mean for organ in evaluation.organs]))
    assert overall.mean_iou == overall.jaccard
    rows = [score.confusion.iou for score in evaluation.scores]
    assert overall.iou_at_half == pytest.approx(np.mean([value >= 0.5 for value in rows]))
    assert overall.infinite == 4
    right = np.trace(evaluation.histogram) / evaluation.histogram.sum()
    assert overall.pixel_accuracy == pytest.approx(right)


def test_an_organ_in_neither_counts_in_nothing_where_the_prediction_is_missing(tmp_path):
    truth = body()
    truth[truth == 3] = 0
    found = evaluate(find_pairs(*cohort(tmp_path, [0, None], [body(), truth])))
    left = next(organ for organ in found.organs if organ.organ == "kidney_left")
    assert (left.cases, left.failures) == (1, 0)
    assert (found.overall.iou_at_half, found.overall.failure_rate) == pytest.approx((4 / 7, 3 / 7))


def test_the_bootstrap_is_the_same_every_time_and_covers_the_mean():
    values = np.arange(30.0)
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    spread = 1.96 * values.std() / math.sqrt(30)
    assert (low, high) == pytest.approx((14.5 - spread, 14.5 + spread), abs=0.4)
    assert all(math.isnan(value) for value in bootstrap_interval(values[:1]))


def with_lesions(*lesions):
    labels = body()
    for lesion in lesions:
        labels[lesion] = 5
    return labels


SMALL, LARGE = np.s_[3:5, 9:11, 5:7], np.s_[6:8, 9:11, 5:7]


@pytest.fixture
def livers(tmp_path):
    """A lesion found and one missed; a healthy liver with a false lesion; a healthy one without."""
    truths = [with_lesions(SMALL, LARGE), body(), body()]
    pred, truth = cohort(tmp_path, [0, 0, 0], truths=truths)
    for case, labels in enumerate((with_lesions(SMALL), with_lesions(LARGE), body())):
        write(pred / f"c{case}_seg.nii.gz", labels)
    return evaluate(find_pairs(pred, truth), threads=2)


def test_healthy_livers_are_scored_by_false_lesions_and_not_by_dice(livers):
    tumour = next(organ for organ in livers.organs if organ.organ == "liver_tumour")
    dice = tumour.metric("dice")
    assert (tumour.cases, tumour.failures, dice.n) == (1, 0, 1)
    assert dice.mean == pytest.approx(2 / 3)
    assert (tumour.lesions.organs, tumour.lesions.healthy) == (3, 2)
    assert (tumour.lesions.false_lesions, tumour.lesions.false_in_healthy) == (1, 1)
    row = tumour.lesions.row()
    assert row["false_lesions_an_organ"] == pytest.approx(1 / 3)
    assert row["false_lesions_a_healthy_organ"] == pytest.approx(1 / 2)
    assert row["burden_error"] == pytest.approx(100 * (8 + 8 + 0) / 512 / 3)


def test_lesions_are_found_by_their_diameter(tmp_path):
    truths = []
    for length in (5, 15, 25):
        labels = np.zeros((40, 20, 16), np.uint8)
        labels[2:38, 2:18, 2:14] = 1
        labels[4 : 4 + length, 8:10, 5:9] = 5
        truths.append(labels)
    pred, truth = cohort(tmp_path, [0, 0, 0], truths=truths)
    for case, labels in enumerate(truths):
        write(truth / f"c{case}.nii.gz", labels)
        write(pred / f"c{case}_seg.nii.gz", labels if case else np.where(labels == 5, 1, labels).astype(np.uint8))
    found = evaluate(find_pairs(pred, truth), threads=2)
    tumour = next(organ for organ in found.organs if organ.organ == "liver_tumour")
    assert tumour.lesions.by_size == ((0, 1), (1, 1), (1, 1))
    assert (tumour.lesions.found, tumour.lesions.lesions) == (2, 3)
    assert tumour.lesions.row()["lesions_10_to_20_mm"] == 1


def test_the_overall_row_leaves_out_what_not_every_case_has(livers):
    assert livers.overall.apart == ("liver_tumour",)
    assert livers.overall.organs == 4
    four = [organ.metric("dice").mean for organ in livers.organs[:4]]
    assert livers.overall.dice == pytest.approx(np.mean(four))


def test_an_infinite_median_makes_the_overall_distance_infinite(tmp_path):
    found = evaluate(find_pairs(*cohort(tmp_path, [0, None, None])), threads=1)
    assert found.overall.hd95_mm == math.inf
