"""Hounsfield units are told from what looks like them."""

import numpy as np
import pytest
from phantom_dicom import body

from abdoseg.image import hounsfield
from abdoseg.image.hounsfield import hu_statistics, raise_padding, why_not_hu

HU = body().astype(np.float32)


def refusal(array):
    return why_not_hu(hu_statistics(np.asarray(array)))


@pytest.mark.parametrize(
    "hu",
    [
        HU,
        HU.astype(np.int16),
        np.clip(HU, -125, 275),
        np.round(np.clip(HU, -125, 275) / 8) * 8,
        np.clip(HU, -160, 240),
        np.clip(HU, -1024, 400),
        np.clip(HU, -1024, -400),
        np.where(HU > 600, 20000, HU),  # a metal implant on an extended scale
    ],
    ids=["float", "int16", "window", "window rounded to 8", "other window", "cut above", "air alone", "metal"],
)
def test_hu_clipped_or_not_are_hu(hu):
    assert refusal(hu) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((HU + 1024) / 2000, "normalised to 0..1"),
        (np.clip((HU + 160) / 400, 0, 1) * 255, "8-bit grey levels"),
        ((HU - HU.mean()) / HU.std(), "normalised or standardised"),
        (HU + 1024, "without the rescale intercept, or MR"),
        (np.clip(np.round((HU + 1024) / 400), 0, 4), "a label map"),
        (np.zeros((5, 5, 5)), "every voxel is 0"),
        (np.where(HU > 0, 12000, HU), "above 3100: not HU"),
    ],
    ids=["0 to 1", "8 bits", "z-scores", "no intercept", "labels", "constant", "MR"],
)
def test_what_is_not_hu_is_named(values, words):
    assert words in refusal(values)


@pytest.mark.parametrize("order", ["C", "F"])
def test_statistics_take_padding_as_air_look_at_all_voxels_and_change_none(monkeypatch, order):
    monkeypatch.setattr(hounsfield, "AT_ONCE", 50)
    array = np.asarray(np.random.default_rng(0).integers(-500, 500, (5, 6, 7)), np.int16, order=order)
    array[0, 0, 0], array[4, 5, 6], array[0, 0, 1] = -3024, 2999, -1025
    before = array.copy()
    array.setflags(write=False)
    statistics = hu_statistics(array)
    assert (statistics.low, statistics.high, statistics.padding) == (-1024, 2999, 2)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("order", ["C", "F"])
def test_padding_is_raised_to_air_and_nothing_else_changes(monkeypatch, order):
    monkeypatch.setattr(hounsfield, "AT_ONCE", 50)
    array = np.asarray(np.random.default_rng(0).integers(-3024, 500, (5, 6, 7)), np.int16, order=order)
    expected = np.maximum(array, -1024)
    raise_padding(array)
    np.testing.assert_array_equal(array, expected)
