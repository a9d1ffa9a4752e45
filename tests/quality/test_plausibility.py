"""Scans without an abdomen give no organs; partial and small organs stay."""

from dataclasses import replace

import numpy as np
import pytest
from phantom_parts import SPACING_MM, no_abdomens

from abdoseg.image.volume import Geometry, Stored, Volume
from abdoseg.model.weights import load_model
from abdoseg.quality.evidence import Evidence
from abdoseg.quality.plausibility import implausible, shows_trunk, tissue_counts
from abdoseg.segmentation import segment

LIVER = Evidence(1500.0, 0.95, 0.2, 100.0, False, np.zeros((1, 3)), np.ones(1, bool))
KIDNEY = replace(LIVER, volume_ml=150.0, confidence=0.9)


def patient(shift=0.0, scale=1.0):
    """A third fat, a third soft tissue, a third air, a little of what lies between."""
    image = np.full((30, 30, 30), -1000, np.float32)
    image[:10], image[10:20], image[20] = -100, 60, -30
    return image * scale + shift


def removed(image=None, voxel_ml=1.0, presence_threshold=0.85, **found):
    return implausible(found, patient() if image is None else image, voxel_ml, presence_threshold)


def test_organs_of_an_abdomen_stay():
    assert removed(liver=LIVER, kidney_right=KIDNEY) == {}
    assert removed() == {}


def test_a_partial_organ_at_the_scans_end_stays_and_so_does_a_childs():
    assert removed(liver=replace(LIVER, volume_ml=40.0, cut=True)) == {}
    assert (
        removed(liver=replace(LIVER, volume_ml=200.0), kidney_left=replace(KIDNEY, volume_ml=9, confidence=0.75)) == {}
    )


def test_where_no_organ_is_certain_there_is_no_abdomen():
    heart = replace(LIVER, volume_ml=700.0, confidence=0.83, cut=True)
    assert "no abdomen" in removed(liver=heart, spleen=replace(heart, volume_ml=100.0))["spleen"]
    assert list(removed(liver=LIVER, spleen=replace(heart, volume_ml=100.0))) == []


def test_of_weights_whose_certainty_nobody_measured_only_hu_and_size_speak():
    unsure = replace(LIVER, confidence=0.55)
    assert removed(presence_threshold=None, liver=unsure, kidney_left=replace(unsure, volume_ml=2.0)) == {}
    assert list(removed(presence_threshold=None, liver=replace(unsure, hu=-300))) == ["liver"]


def test_a_crumb_beside_certain_organs_goes_alone():
    crumb = replace(KIDNEY, volume_ml=3.0, confidence=0.7)
    assert list(removed(liver=LIVER, kidney_left=crumb)) == ["kidney_left"]
    assert list(removed(liver=LIVER, kidney_left=replace(crumb, cut=True))) == []
    assert list(removed(liver=LIVER, kidney_left=replace(crumb, confidence=0.95))) == []


@pytest.mark.parametrize("hu", [-300, -80, 400])
def test_an_organ_of_air_fat_or_bone_goes_however_certain(hu):
    assert "is not its tissue's" in removed(liver=replace(LIVER, hu=hu), kidney_right=KIDNEY)["liver"]


def test_a_fatty_liver_a_cystic_kidney_and_an_arterial_one_stay():
    assert (
        removed(liver=replace(LIVER, hu=-15), kidney_left=replace(KIDNEY, hu=5), kidney_right=replace(KIDNEY, hu=300))
        == {}
    )


@pytest.mark.parametrize(("shift", "scale"), [(150, 1), (-150, 1), (1024, 1), (300, 1), (0, 0.3), (0, -1)])
def test_values_that_are_no_hu_give_no_organs(shift, scale):
    assert "HU" in removed(patient(shift, scale), liver=LIVER)["liver"]


def test_a_head_has_too_much_bone():
    head = patient()
    head[:3] = 900
    assert "trunk" in removed(head, liver=LIVER)["liver"]


def test_an_organ_that_fills_the_body_is_none():
    assert "of the body" in removed(liver=LIVER, kidney_left=KIDNEY, voxel_ml=0.1)["liver"]  # 1500 of 1890 ml


def shows(image):
    return shows_trunk(tissue_counts(image))


def test_air_water_noise_and_a_clipped_scan():
    assert not shows(np.full((8, 8, 8), -1000, np.float32))
    assert not shows(np.where(patient() > -1000, 0, -1000).astype(np.float32))
    assert not shows(np.random.default_rng(0).uniform(-1000, 3000, (30, 30, 30)).astype(np.float32))
    assert shows(patient().clip(-160, 240))
    assert shows(patient().clip(-125, 275))


def test_organs_without_references_are_let_be():
    assert removed(np.zeros((4, 4, 4), np.float32), pancreas=LIVER) == {}


@pytest.mark.parametrize(("name", "voxels"), [pytest.param(*made, id=made[0]) for made in no_abdomens(0)])
def test_scans_without_an_abdomen_give_the_bundled_weights_no_organ(name, voxels):
    geometry = Geometry(voxels.shape, np.diag([*SPACING_MM, 1.0]))
    found = segment(Volume(voxels, geometry, Stored(geometry)), load_model(device="cpu"))
    assert not found.labelmap.labels.any()
    assert "found" in found.warnings[0]
    assert all(quality.review for quality in found.quality.values())
