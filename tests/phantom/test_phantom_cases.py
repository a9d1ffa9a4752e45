"""The phantoms that lead a network astray are what they say."""

from functools import cache

import numpy as np
import phantom_cases
import pytest
from phantom_cases import CASES, LESIONS_MM
from scipy import ndimage

from abdoseg.anatomy.organs import MAIN

WHOLE = np.ones((3, 3, 3))


@cache
def made(name):
    return CASES[name]()


def pieces_ml(case, mask):
    found, count = ndimage.label(mask, WHOLE)
    return sorted(ndimage.sum_labels(mask, found, range(1, count + 1)) * case.geometry.voxel_ml)


@pytest.mark.parametrize("name", CASES)
def test_the_answer_holds_the_truth_and_what_is_mistaken(name):
    case = made(name)
    maps = case.answer()
    assert maps.organs == MAIN
    for margin, organ in zip(maps.margins, MAIN, strict=True):
        expected = case.mask(organ) | case.mistaken.get(organ, False)
        found = margin > 0
        assert (found & expected).sum() >= 0.9 * expected.sum() and found.sum() <= 1.15 * expected.sum()


@pytest.mark.parametrize("name", ["bright_stomach", "bright_heart"])
def test_what_is_taken_for_a_spleen_is_larger_and_as_bright(name):
    case = made(name)
    spleen, other = case.mask("spleen"), case.mistaken["spleen"]
    assert case.ml(other) > case.ml(spleen) > 150
    assert abs(case.hu[spleen].mean() - case.hu[other].mean()) < 10


def test_an_accessory_spleen_is_a_second_piece_of_four_ml():
    case = made("accessory_spleen")
    small, large = pieces_ml(case, case.mask("spleen"))
    assert 2 < small < 6 and large > 150


def test_after_a_splenectomy_there_is_none():
    case = made("splenectomy")
    assert not case.mask("spleen").any() and case.mistaken["spleen"].any()


def test_a_pelvic_kidney_lies_lower_and_nearer_the_midline_and_is_whole():
    usual, pelvic = (np.argwhere(made(name).mask("kidney_left")) for name in ("healthy", "pelvic_kidney"))
    assert len(usual) == len(pelvic)
    np.testing.assert_allclose(pelvic.mean(axis=0) - usual.mean(axis=0), (7, 9, -16))


def test_lesions_have_the_diameters_that_were_asked_for():
    case = made("liver_lesions")
    volumes = pieces_ml(case, case.mask("liver_tumour"))
    assert volumes == pytest.approx([np.pi / 6 * d**3 / 1000 for d in LESIONS_MM], rel=0.12)
    liver, lesion = case.mask("liver"), case.mask("liver_tumour")
    assert case.hu[lesion].mean() < case.hu[liver].mean() - 40
    around = ndimage.binary_dilation(lesion) & ~lesion
    assert liver[around].all()
    assert phantom_cases.liver_lesions((12.0,)).mask("liver_tumour").any()
