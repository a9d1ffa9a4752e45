"""Lesions found, missed and false, counted by hand."""

import math

import numpy as np
import pytest

from abdoseg.metrics import detect


def row(*spans, length=20):
    mask = np.zeros((length, 1, 1), bool)
    for start, stop in spans:
        mask[start:stop] = True
    return mask


def test_two_found_one_missed_one_false():
    truth = row((0, 2), (4, 6), (8, 10))
    prediction = row((1, 3), (4, 6), (15, 17))
    found = detect(truth, prediction)
    assert (found.tp, found.fp, found.fn, found.truth) == (2, 1, 1, 3)
    assert found.f1 == pytest.approx(4 / 6)


def test_one_large_prediction_over_two_lesions_finds_both():
    found = detect(row((0, 2), (4, 6)), row((0, 6)))
    assert (found.tp, found.fp, found.fn) == (2, 0, 0)


def test_two_predictions_in_one_lesion_are_both_true():
    found = detect(row((0, 9)), row((1, 2), (5, 6)))
    assert (found.tp, found.fp, found.fn) == (1, 0, 0)


def test_a_fraction_that_must_be_covered_can_be_chosen():
    truth, prediction = row((0, 10)), row((0, 3))
    assert detect(truth, prediction, 0.25).tp == 1
    assert detect(truth, prediction, 0.3).fn == 1


def test_corners_hang_together():
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert detect(mask, mask).tp == 1


def test_nothing_to_find_has_no_score_and_a_false_lesion_has_zero():
    nothing = row()
    assert math.isnan(detect(nothing, nothing).f1)
    found = detect(nothing, row((3, 4)))
    assert (found.tp, found.fp, found.fn, found.f1) == (0, 1, 0, 0)


def test_lesions_are_counted_by_their_diameter():
    truth = row((0, 2), (4, 16), (18, 48), length=60)
    found = detect(truth, row((5, 6), length=60), diameter_mm=lambda piece: float(piece.sum()))
    assert found.diameters_mm == (2, 12, 30)
    assert found.found == (False, True, False)
    assert found.by_size == ((0, 1), (1, 1), (0, 1))
    edges = detect(row((0, 10), (12, 32), length=40), row(length=40), diameter_mm=lambda piece: float(piece.sum()))
    assert edges.by_size == ((0, 0), (0, 1), (0, 1))  # 10 mm is measurable, 20 mm large
    assert detect(row(), row()).by_size == ((0, 0), (0, 0), (0, 0))
