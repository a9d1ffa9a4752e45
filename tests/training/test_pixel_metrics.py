"""Pixel metrics: worked by hand, beside scikit-learn where it is installed, with partial annotations."""

import math

import numpy as np
import pytest
import torch

from abdoseg.training.pixel_metrics import PixelMetrics, count_confusion, pixel_metrics

TRUTH = [0, 0, 0, 1, 1, 1, 2, 0]
FOUND = [0, 0, 1, 1, 1, 0, 0, 3]


def confusion(classes: int = 4) -> np.ndarray:
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (TRUTH, FOUND), 1)
    return table


def test_metrics_are_as_worked_by_hand():
    """Organ 1: 2 right, 1 too many, 1 missed. Organ 2: missed. Organ 3: only predicted."""
    found = pixel_metrics(confusion(), 0.7)
    assert found == PixelMetrics(
        loss=0.7,
        accuracy=4 / 8,
        jaccard=pytest.approx((2 / 4 + 0 + 0) / 3),
        precision=pytest.approx((2 / 3 + 0 + 0) / 3),
        recall=pytest.approx((2 / 3 + 0 + 0) / 3),
        dice=pytest.approx((4 / 6 + 0 + 0) / 3),
    )
    assert pixel_metrics(confusion(6), 0.7) == found  # channels that nothing has are left out


def test_metrics_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 5, (2, 500))
    table = np.zeros((5, 5), np.int64)
    np.add.at(table, (truth, found), 1)
    ours = pixel_metrics(table, 0.0)
    how = {"labels": [1, 2, 3, 4], "average": "macro"}
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(truth, found))
    assert ours.jaccard == pytest.approx(metrics.jaccard_score(truth, found, **how))
    assert ours.precision == pytest.approx(metrics.precision_score(truth, found, **how))
    assert ours.recall == pytest.approx(metrics.recall_score(truth, found, **how))
    assert ours.dice == pytest.approx(metrics.f1_score(truth, found, **how))


def test_nothing_counted_is_no_number():
    found = pixel_metrics(np.zeros((3, 3), np.int64), 0.1)
    assert found.loss == 0.1 and math.isnan(found.accuracy) and math.isnan(found.jaccard)
    only_background = pixel_metrics(np.diag([5, 0, 0]), 0.1)
    assert only_background.accuracy == 1.0 and math.isnan(only_background.dice)


def test_what_nobody_annotated_counts_as_what_it_belongs_to():
    """Two samples of two voxels; in the second channel 2 was not looked for, and counts as channel 1."""
    logits = torch.zeros(2, 3, 2, 1, 1)
    logits[0, 2, 0] = logits[0, 1, 1] = logits[1, 2, 0] = logits[1, 0, 1] = 1.0  # found: 2, 1; 2, 0
    target = torch.tensor([[2, 2], [1, 1]]).view(2, 2, 1, 1)
    table = count_confusion(logits, target, [(0, 1, 2), (0, 1, 1)])
    assert table.tolist() == [[0, 0, 0], [1, 1, 0], [0, 1, 1]]
