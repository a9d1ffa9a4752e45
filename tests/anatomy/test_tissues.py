"""The HU of tissues in each phase stand to each other as radiologists know them."""

import numpy as np
import pytest

from abdoseg.anatomy.tissues import LUMEN_TIERS, MEAN_HU, PHASES, SPREAD_HU, Tissue, patient_hu


def test_every_tissue_has_an_hu_in_every_phase():
    for tissue in Tissue:
        for phase in PHASES:
            assert -1000 <= MEAN_HU[phase][tissue] <= 1500
        assert tissue == Tissue.AIR or MEAN_HU["portal"][tissue] != 0 or SPREAD_HU[tissue] > 0


def test_lumens_have_their_own_numbers():
    for lumen in (Tissue.STOMACH_LUMEN, Tissue.SMALL_BOWEL_LUMEN, Tissue.COLON_LUMEN):
        taken = set(range(lumen + 1, lumen + LUMEN_TIERS))
        assert taken.isdisjoint(set(Tissue))


def test_the_liver_is_denser_than_the_spleen_without_contrast_and_less_dense_in_the_arterial_phase():
    plain, arterial = MEAN_HU["noncontrast"], MEAN_HU["arterial"]
    assert plain[Tissue.LIVER] > plain[Tissue.SPLEEN]
    assert arterial[Tissue.LIVER] < arterial[Tissue.SPLEEN]


def test_cortex_and_medulla_differ_in_the_arterial_phase_and_agree_in_the_delayed():
    for phase, least, most in (("noncontrast", 0, 5), ("arterial", 60, 150), ("delayed", 0, 5)):
        gap = MEAN_HU[phase][Tissue.KIDNEY_CORTEX] - MEAN_HU[phase][Tissue.KIDNEY_MEDULLA]
        assert least <= gap <= most


def test_arteries_fill_first_and_the_portal_vein_after():
    by_phase = {phase: MEAN_HU[phase] for phase in PHASES}
    assert max(PHASES, key=lambda phase: by_phase[phase][Tissue.ARTERY]) == "arterial"
    assert max(PHASES, key=lambda phase: by_phase[phase][Tissue.PORTAL_VEIN]) == "portal"
    assert max(PHASES, key=lambda phase: by_phase[phase][Tissue.LIVER]) == "portal"


def test_strength_scales_only_what_the_contrast_adds():
    # Liver: 58 plain, 108 portal. Half the contrast adds half of 50.
    assert patient_hu("portal", strength=0.5)[Tissue.LIVER] == pytest.approx(83)
    assert patient_hu("noncontrast", strength=0.5)[Tissue.LIVER] == pytest.approx(58)
    np.testing.assert_allclose(patient_hu("portal", strength=0.0), MEAN_HU["noncontrast"])


def test_a_scan_between_two_phases_lies_between_them():
    # Spleen: 125 arterial, 118 portal; a quarter of the way.
    between = patient_hu("arterial", towards=("portal", 0.25))
    assert between[Tissue.SPLEEN] == pytest.approx(123.25)


def test_deviations_count_in_each_tissues_own_spread():
    deviations = np.zeros(64, np.float32)
    deviations[Tissue.LIVER] = -2
    assert patient_hu("noncontrast", deviations)[Tissue.LIVER] == pytest.approx(58 - 2 * 8)
    assert patient_hu("noncontrast", deviations)[Tissue.SPLEEN] == pytest.approx(48)


def test_the_table_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        MEAN_HU["portal"][0] = 1
