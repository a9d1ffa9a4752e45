"""Statistics over cases and organs, against numpy."""

import math

import numpy as np
import pytest
from phantom_labels import cohort

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


def test_infinite_distances_stay_out_of_the_mean_and_in_the_quartiles(evaluation):
    hausdorff = evaluation.organs[0].metric("hausdorff_mm")
    assert (hausdorff.n, hausdorff.infinite) == (4, 1)
    assert hausdorff.mean == pytest.approx((0 + 1 + 2) / 3)
    assert hausdorff.median == pytest.approx(1.5)
    assert hausdorff.upper_quartile == math.inf
    assert (hausdorff.worst, hausdorff.worst_case) == (math.inf, "c3")
    assert hausdorff.text == "1.00 (+1 inf)"


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


def test_the_bootstrap_is_the_same_every_time_and_covers_the_mean():
    values = np.arange(30.0)
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    spread = 1.96 * values.std() / math.sqrt(30)
    assert (low, high) == pytest.approx((14.5 - spread, 14.5 + spread), abs=0.4)
    assert all(math.isnan(value) for value in bootstrap_interval(values[:1]))
