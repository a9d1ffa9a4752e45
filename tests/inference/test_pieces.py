"""The likeliest piece of an organ, in a patient of ellipsoids at the usual places."""

import numpy as np
import pytest

from abdoseg.anatomy.reference_ranges import POSITION_MM
from abdoseg.image.organ_maps import OrganMaps
from abdoseg.image.volume import Geometry
from abdoseg.inference.pieces import Piece, Pieces, improbability
from abdoseg.inference.postprocess import postprocess

SPACING_MM = 4.0
SHAPE = (90, 70, 100)
GRID = Geometry(SHAPE, np.array([[4.0, 0, 0, -180], [0, 4, 0, -140], [0, 0, 4, -240], [0, 0, 0, 1]]))
AT_MM = GRID.affine[:3, 3, None, None, None] + SPACING_MM * np.indices(SHAPE)
ORGANS = ("liver", "kidney_right", "kidney_left", "spleen")
ML = {"liver": 1500, "kidney_right": 150, "kidney_left": 150, "spleen": 200}
HU = {"liver": 105, "kidney_right": 170, "kidney_left": 170, "spleen": 115}


def ball(centre_mm, volume_ml):
    """(I, J, K) bool: a ball of so many millilitres."""
    radius_mm = np.cbrt(volume_ml * 1000 * 3 / (4 * np.pi))
    return sum((at - c) ** 2 for at, c in zip(AT_MM, centre_mm, strict=True)) < radius_mm**2


def patient(without=(), **further):
    """Margins and image of a healthy patient, `further` pieces added: by organ (centre in mm, ml, HU, probability)."""
    margins, image = np.full((4, *SHAPE), -3, np.float16), np.full(SHAPE, -90, np.float32)
    parts = [(organ, POSITION_MM[organ], ML[organ], HU[organ], 0.95) for organ in ORGANS if organ not in without]
    for organ, *part in [*parts, *((organ, *part) for organ, part in further.items())]:
        centre_mm, volume_ml, hu, probability = part
        here = ball(centre_mm, volume_ml) & (margins <= 0).all(axis=0)
        margins[ORGANS.index(organ)][here], image[here] = np.log(probability / (1 - probability)), hu
    return OrganMaps(margins, ORGANS, GRID), image


def kept_ml(organ, without=(), **further):
    """Millilitres of an organ that lie around its usual place in the end, and elsewhere; and what was changed of it."""
    maps, image = patient(without, **further)
    maps, changes = postprocess(maps, image, None)
    mask, usual = maps.mask(organ), ball(POSITION_MM[organ], ML[organ])
    return (mask & usual).sum() * GRID.voxel_ml, (mask & ~usual).sum() * GRID.voxel_ml, changes[organ]


STOMACH_MM, HEART_MM = (-60.0, 70.0, 25.0), (-25.0, 60.0, 120.0)


@pytest.mark.parametrize(("centre_mm", "hu"), [(STOMACH_MM, 130), (STOMACH_MM, 230), (HEART_MM, 150)])
def test_a_bright_stomach_or_heart_larger_than_the_spleen_is_not_taken_for_it(centre_mm, hu):
    usual, elsewhere, change = kept_ml("spleen", spleen=(centre_mm, 305, hu, 0.9))
    assert usual == pytest.approx(200, rel=0.05)
    assert elsewhere == 0
    assert change.largest_ml == pytest.approx(305, rel=0.05)
    (sentence,) = change.sentences("spleen")
    assert sentence.endswith(f"({change.dropped_ml / change.kept_ml:.0%} of it) lay apart and were dropped")


def test_an_accessory_spleen_is_dropped_and_reported():
    usual, elsewhere, change = kept_ml("spleen", spleen=((-60.0, 30.0, 0.0), 12, 115, 0.93))
    assert usual == pytest.approx(200, rel=0.05)
    assert elsewhere == 0
    assert change.dropped_ml == pytest.approx(12, rel=0.2)


def test_after_a_splenectomy_a_splenule_stays_and_a_bright_stomach_does_not():
    maps, image = patient(without=["spleen"])
    splenule, stomach = ball(POSITION_MM["spleen"], 14), ball(STOMACH_MM, 250)
    for here, hu, margin in ((splenule, 115, 2.6), (stomach, 200, 1.6)):
        maps.margins[3][here], image[here] = margin, hu
    maps, _ = postprocess(maps, image, None)
    np.testing.assert_array_equal(maps.mask("spleen"), splenule)


def test_a_pelvic_kidney_stays_where_no_other_is_and_even_beside_a_doubtful_piece_at_the_usual_place():
    pelvic = ((-20.0, -20.0, -160.0), 140, 170, 0.94)
    _, elsewhere, change = kept_ml("kidney_left", without=["kidney_left"], kidney_left=pelvic)
    assert elsewhere == pytest.approx(140, rel=0.05)
    assert change.pieces == 0
    maps, image = patient(without=["kidney_left"], kidney_left=pelvic)
    bowel = ball(POSITION_MM["kidney_left"], 15)
    maps.margins[2][bowel], image[bowel] = 0.6, 40
    maps, _ = postprocess(maps, image, None)
    assert maps.mask("kidney_left").sum() * GRID.voxel_ml == pytest.approx(140, rel=0.05)


def test_an_atrophic_kidney_is_found_beside_a_larger_piece_of_bowel():
    maps, image = patient(without=["kidney_left"], kidney_left=((-40.0, 70.0, -90.0), 60, 60, 0.75))
    atrophic = ball(POSITION_MM["kidney_left"], 10)
    maps.margins[2][atrophic], image[atrophic] = 2.5, 150
    maps, _ = postprocess(maps, image, None)
    np.testing.assert_array_equal(maps.mask("kidney_left"), atrophic)


def piece(**changed):
    usual = {"volume_ml": 180.0, "confidence": 0.95, "hu": 115.0, "centre_mm": POSITION_MM["spleen"], "cut": False}
    return Piece(**usual | changed)


LIVER = {"liver": Piece(1500.0, 0.96, 105.0, POSITION_MM["liver"], False)}


@pytest.mark.parametrize(
    "worse",
    [
        {"confidence": 0.8},
        {"hu": 10.0},
        {"hu": 260.0},
        {"volume_ml": 5.0},
        {"volume_ml": 3000.0},
        {"centre_mm": POSITION_MM["spleen"] + [0, 80, 0]},
    ],
)
def test_each_sign_makes_a_piece_less_likely(worse):
    assert improbability("spleen", piece(**worse), LIVER) > improbability("spleen", piece(), LIVER) + 2


def test_a_small_piece_that_is_cut_is_likelier_than_a_small_one_that_is_whole():
    cut, whole = piece(volume_ml=20.0, cut=True), piece(volume_ml=20.0)
    assert improbability("spleen", cut, LIVER) < improbability("spleen", whole, LIVER)
    assert improbability("liver", cut, {}) < improbability("liver", whole, {})  # without any other organ, too


def test_rivals_are_large_enough_and_the_largest_comes_first():
    sizes = np.array([0, 40, 3, 1000, 60])
    pieces = Pieces((slice(0, 1),) * 3, np.zeros((1, 1, 1), np.uint32), sizes)
    assert pieces.rivals(voxel_ml=0.1) == [3, 4]
    assert pieces.largest == 3
