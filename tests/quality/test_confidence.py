"""Features and predictions of an organ, worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from abdoseg.anatomy.reference_ranges import POSITION_MM
from abdoseg.inference.postprocess import Changes
from abdoseg.quality.confidence import FEATURES, REVIEW, features, predict
from abdoseg.quality.evidence import Evidence

USUAL = {
    organ: Evidence(150.0, 0.95, 0.2, 100.0, False, centre_mm[None] + 7, np.ones(1, bool))
    for organ, centre_mm in POSITION_MM.items()
}


def seen(organ, **changed):
    return USUAL | {organ: replace(USUAL[organ], **changed)}


def named(organ, evidence, dropped_ml=0.0):
    return dict(zip(FEATURES, features(organ, evidence, dropped_ml), strict=True))


def test_a_usual_organ_has_no_feature_but_the_intercept_and_is_expected_to_be_good():
    assert named("spleen", USUAL) == pytest.approx(dict.fromkeys(FEATURES, 0.0) | {"one": 1.0}, abs=1e-9)
    found = predict("spleen", USUAL, Changes())
    assert found.dice > 0.92
    assert found.p_poor < 0.03 < REVIEW


def test_doubt_is_the_logarithm_of_what_lacks_to_certainty():
    found = named("spleen", seen("spleen", confidence=0.8))
    assert found["doubt"] == found["least_sure"] == pytest.approx(np.log(4))
    assert found["much_doubt"] == pytest.approx(np.log(4) ** 2)
    surer = named("spleen", seen("spleen", confidence=0.975))
    assert surer["doubt"] == pytest.approx(-np.log(2))
    assert surer["much_doubt"] == 0
    assert named("liver", seen("spleen", confidence=0.8))["least_sure"] == pytest.approx(np.log(4))


def test_displacement_is_that_from_the_median_of_what_the_others_say():
    moved = seen("kidney_left", points_mm=USUAL["kidney_left"].points_mm + np.array([20, -20, 30]))
    assert named("kidney_left", moved)["displaced"] == pytest.approx(1)
    assert named("spleen", moved)["displaced"] == pytest.approx(0, abs=1e-9)  # one of three does not matter
    assert named("spleen", {"spleen": USUAL["spleen"]})["displaced"] == 0


def test_dropped_and_unclaimed_tissue_count_by_their_part_of_the_organ_and_nothing_beyond_a_limit():
    assert named("spleen", USUAL, dropped_ml=15.0)["dropped"] == pytest.approx(np.log(2))
    assert named("spleen", seen("spleen", unclaimed_ml=30.0))["unclaimed"] == pytest.approx(np.log(3))
    assert named("spleen", USUAL, dropped_ml=1e6)["dropped"] == 4


@pytest.mark.parametrize(
    ("evidence", "dropped_ml"),
    [
        (seen("spleen", confidence=0.8), 0.0),
        (USUAL, 2000.0),
        (seen("liver", confidence=0.7), 0.0),
        (seen("spleen", unclaimed_ml=75.0), 0.0),
    ],
)
def test_doubt_and_dropped_pieces_lower_the_expectation(evidence, dropped_ml):
    found, usual = predict("spleen", evidence, Changes(dropped_ml=dropped_ml)), predict("spleen", USUAL, Changes())
    assert found.dice < usual.dice
    assert found.p_poor > usual.p_poor


def test_an_organ_without_references_and_one_that_is_absent_have_no_prediction():
    assert predict("pancreas", USUAL | {"pancreas": USUAL["liver"]}, Changes()) is None
    assert predict("spleen", {"liver": USUAL["liver"]}, Changes()) is None
