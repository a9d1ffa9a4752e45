"""Dice, IoU, precision and recall by hand and against SimpleITK."""

import math

import numpy as np
import pytest
import SimpleITK as sitk

from abdoseg.metrics import Confusion, confusion, confusion_of, dice, iou, joint_histograms


def masks(seed, shape=(9, 11, 7)):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < 0.3, rng.random(shape) < 0.4


def test_four_voxels_against_two_of_them_and_one_other():
    truth = np.array([1, 1, 1, 1, 0, 0], dtype=bool)
    prediction = np.array([1, 1, 0, 0, 1, 0], dtype=bool)
    found = confusion(truth, prediction)
    assert found == Confusion(tp=2, fp=1, fn=2, tn=1)
    assert found.dice == pytest.approx(4 / 7)
    assert found.iou == pytest.approx(2 / 5)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(1 / 2)
    assert found.accuracy == pytest.approx(3 / 6)
    assert (dice(truth, prediction), iou(truth, prediction)) == (found.dice, found.iou)


def test_two_empty_masks_have_nothing_to_agree_on():
    found = Confusion(0, 0, 0, 10)
    assert all(math.isnan(value) for value in (found.dice, found.iou, found.precision, found.recall))
    assert found.accuracy == 1


@pytest.mark.parametrize("found", [Confusion(0, 5, 0, 5), Confusion(0, 0, 5, 5)])
def test_one_empty_mask_earns_nothing(found):
    assert (found.dice, found.iou, found.precision, found.recall) == (0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_overlap_is_that_of_simpleitk(seed):
    truth, prediction = masks(seed)
    theirs = sitk.LabelOverlapMeasuresImageFilter()
    theirs.Execute(*(sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, truth)))
    ours = confusion(truth, prediction)
    assert ours.dice == pytest.approx(theirs.GetDiceCoefficient(1))
    assert ours.iou == pytest.approx(theirs.GetJaccardCoefficient(1))
    assert 1 - ours.recall == pytest.approx(theirs.GetFalseNegativeError(1))
    assert 1 - ours.precision == pytest.approx(theirs.GetFalseDiscoveryRate(1))


def test_every_confusion_follows_from_one_histogram():
    rng = np.random.default_rng(3)
    truth, prediction = rng.integers(0, 4, (2, 6, 5, 7)).astype(np.uint8)
    planes = joint_histograms(truth, prediction, 5)
    assert (planes.sum(axis=(1, 2)) == 5 * 7).all()
    histogram = planes.sum(axis=0)
    assert histogram.sum() == truth.size
    for label in range(5):
        assert confusion_of(histogram, [label]) == confusion(truth == label, prediction == label)
    together = confusion_of(histogram, [1, 3])
    assert together == confusion(np.isin(truth, [1, 3]), np.isin(prediction, [1, 3]))


def test_pooling_adds_the_counts():
    assert Confusion(1, 2, 3, 4) + Confusion(5, 6, 7, 8) == Confusion(6, 8, 10, 12)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes"):
        dice(np.ones((2, 2), bool), np.ones((2, 3), bool))
