"""Reference ranges: in order, and wide enough for what patients have."""

import pytest

from abdoseg.anatomy.organs import MAIN
from abdoseg.anatomy.reference_ranges import HEALTHY_ML, NEWBORN_ML, expected_hu


@pytest.mark.parametrize("organ", MAIN)
def test_every_output_organ_has_its_references(organ):
    low, high = HEALTHY_ML[organ]
    assert NEWBORN_ML[organ] < low < high
    dark, bright = expected_hu(organ)
    assert dark < 60 < bright


def test_a_fatty_liver_and_a_kidney_in_the_arterial_phase_are_expected():
    assert expected_hu("liver")[0] == -10  # 32 - 3 x 14
    assert expected_hu("liver")[1] == pytest.approx(58 + 1.75 * (108 - 58) + 3 * 8)
    assert expected_hu("kidney_left")[1] == pytest.approx(32 + 1.75 * (190 - 32) + 3 * 18)


def test_other_organs_have_no_reference():
    assert expected_hu("pancreas") is None
