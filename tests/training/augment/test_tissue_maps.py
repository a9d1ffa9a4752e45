"""Tissue maps from label maps: what is named, what is filled, what a scan adds."""

import json

import numpy as np
import pytest
from shared_data import SHARED_DATA

from abdoseg.anatomy.label_schemes import SCHEMES
from abdoseg.anatomy.tissues import LUMEN_TIERS, Tissue
from abdoseg.training.augment.tissue_maps import SCANNED, WALL, WALL_COUNT, tissue_map, tissue_of

SPACING_MM = (2.0, 2.0, 3.0)
NAMES = {1: "liver", 2: "kidney_right", 3: "vertebrae_L1", 4: "stomach", 5: "autochthon_left", 6: "nothing_we_know"}


def trunk() -> np.ndarray:
    """A liver, a kidney, a vertebra, a stomach and a muscle in an array of 120 x 120 x 36 mm."""
    labels = np.zeros((60, 60, 12), np.uint8)
    labels[36:46, 25:45, :] = 1
    labels[34:44, 14:22, 2:10] = 2
    labels[26:34, 10:18, :] = 3
    labels[16:28, 30:46, 2:10] = 4
    labels[22:38, 6:9, :] = 5
    return labels


def test_organs_become_their_tissues():
    labels = trunk()
    tissues = tissue_map(labels, NAMES, SPACING_MM)
    assert (tissues[labels == 1] == Tissue.LIVER).all()
    assert (tissues[labels == 5] == Tissue.MUSCLE).all()
    assert set(np.unique(tissues[labels == 2])) == {Tissue.KIDNEY_CORTEX, Tissue.KIDNEY_MEDULLA}
    assert set(np.unique(tissues[labels == 3])) == {Tissue.BONE_CORTEX, Tissue.BONE_MARROW}


def test_the_cortex_is_the_outer_layer():
    tissues = tissue_map(trunk(), NAMES, SPACING_MM)
    assert tissues[34, 18, 6] == Tissue.KIDNEY_CORTEX
    assert tissues[39, 18, 6] == Tissue.KIDNEY_MEDULLA  # 8 mm below the surface


def test_the_lumen_of_the_stomach_rises_in_four_tiers_to_the_front():
    tissues = tissue_map(trunk(), NAMES, SPACING_MM)
    tiers = tissues[22, 31:45, 6].astype(int) - Tissue.STOMACH_LUMEN
    assert list(tiers) == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    assert tiers.max() == LUMEN_TIERS - 1
    assert tissues[22, 30, 6] == Tissue.BOWEL_WALL


def test_shells_lie_around_the_trunk_and_rise_outwards():
    labels = trunk()
    tissues = tissue_map(labels, NAMES, SPACING_MM)
    row = tissues[0:15, 38, 6].astype(int)
    assert ((row >= WALL) & (row < WALL + WALL_COUNT)).all()
    assert (np.diff(row) <= 0).all()
    assert row[0] > row[-1] + 8


def test_no_voxel_stays_unknown_around_a_whole_trunk():
    tissues = tissue_map(trunk(), NAMES, (5.0, 5.0, 5.0))
    assert not (tissues == Tissue.AIR).any()
    assert (tissues == Tissue.GAP).any()


def test_an_unknown_structure_is_read_as_unlabelled():
    labels = trunk()
    named = tissue_map(labels, NAMES, SPACING_MM)
    labels[30, 25, 6] = 6
    assert tissue_map(labels, NAMES, SPACING_MM)[30, 25, 6] == named[30, 25, 6]


def test_an_empty_label_map_stays_air():
    tissues = tissue_map(np.zeros((8, 8, 4), np.uint8), NAMES, SPACING_MM)
    assert tissues.shape == (8, 8, 4)
    assert tissues.dtype == np.uint8


@pytest.mark.parametrize("scheme", ["flare22", "btcv", "amos", "totalseg", "kits", "msd-liver"])
def test_every_organ_of_the_public_schemes_is_known(scheme):
    assert [name for name in SCHEMES[scheme].values() if tissue_of(name) is None] == []


def scanned() -> tuple[np.ndarray, np.ndarray]:
    """A fat body with a labelled liver; an unlabelled lump, a spine and a pocket of gas; clipped as FLARE22 is."""
    hu = np.full((50, 50, 8), -125, np.float32)
    hu[5:45, 5:45] = -100
    labels = np.zeros(hu.shape, np.uint8)
    labels[28:40, 15:35, 2:6] = 1
    hu[labels == 1] = 100
    hu[12:20, 28:36] = 50
    hu[22:27, 8:14] = 275
    hu[12:20, 15:21] = -125
    return labels, hu


def test_what_a_scan_shows_where_nobody_labelled_is_kept_in_steps_of_8_hu():
    labels, hu = scanned()
    tissues = tissue_map(labels, {1: "liver"}, SPACING_MM, hu)
    assert tissues[15, 32, 4] == SCANNED + (50 + 128) // 8
    assert tissues[24, 40, 4] == SCANNED + (-100 + 128) // 8
    assert (tissues[labels == 1] == Tissue.LIVER).all()


def test_gas_bone_and_the_air_outside_are_kept_apart():
    labels, hu = scanned()
    tissues = tissue_map(labels, {1: "liver"}, SPACING_MM, hu)
    assert tissues[16, 18, 4] == Tissue.GAS
    assert tissues[24, 11, 4] == Tissue.BONE_CORTEX
    assert tissues[1, 1, 4] == Tissue.AIR


def test_lungs_reach_above_the_liver():
    labels, hu = scanned()
    labels, hu = np.repeat(labels, 4, axis=2), np.repeat(hu, 4, axis=2)
    hu[:, :, 20:][labels[:, :, 20:] == 0] = -100
    hu[8:42, 22:42, 26:] = -125  # 34 x 20 x 6 voxels of 0.125 ml: 510 ml
    wide = tissue_map(labels, {1: "liver"}, (5.0, 5.0, 5.0), hu)
    assert wide[20, 30, 30] == Tissue.LUNG
    assert wide[16, 18, 12] == Tissue.GAS


DATA = SHARED_DATA / "labelmaps"


@pytest.mark.skipif(not DATA.is_dir(), reason="the research data is not here")
def test_every_class_of_the_whole_body_maps_is_known():
    for path in DATA.glob("*.json"):
        assert [name for name in json.loads(path.read_text()) if tissue_of(name) is None] == []
