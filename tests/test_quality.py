"""Confidence and flags of organs, from fields and volumes worked by hand."""

import numpy as np
import pytest

from abdoseg.measure import OrganVolume
from abdoseg.quality import assess
from abdoseg.volume import Geometry

GRID = Geometry((20, 10, 10), np.diag([10.0, 10.0, 10.0, 1.0]))


def assessed(organ, volume_ml, logit=3.0, at=slice(12, 16), changed=0.0, touches=(), middle=9.5):
    field = np.full((1, *GRID.shape), -2, np.float16)
    voxels = 0
    if volume_ml:
        field[0, at] = logit
        voxels = int(volume_ml)
    row = OrganVolume(organ, 1, voxels, volume_ml, None, None, touches)
    return assess(field, [row], {organ: changed}, GRID, middle)[organ]


def test_confidence_is_the_mean_probability_against_the_next_organ():
    found = assessed("liver", 1500.0)
    assert found.confidence == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-4)
    assert found.flags == ()


def test_an_absent_organ_has_no_confidence():
    found = assessed("liver", 0.0)
    assert found.confidence is None
    assert found.flags == ("not_found",)


def test_each_reason_to_look_has_its_flag():
    assert assessed("liver", 1500.0, logit=1.0).flags == ("doubtful",)
    assert assessed("liver", 1500.0, changed=100.0).flags == ("corrected",)
    assert assessed("liver", 300.0).flags == ("small",)
    assert assessed("liver", 3500.0).flags == ("large",)
    assert assessed("liver", 1500.0, at=slice(2, 6)).flags == ("wrong_side",)
    assert assessed("spleen", 200.0).flags == ("wrong_side",)


def test_a_cut_organ_is_not_called_small():
    assert assessed("liver", 300.0, touches=("superior",)).flags == ()


def test_without_a_middle_no_side_is_wrong():
    assert assessed("spleen", 200.0, middle=None).flags == ()
