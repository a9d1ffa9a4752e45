"""Corrections of organ maps by anatomy, on boxes whose answer is worked by hand."""

import numpy as np
import pytest

from abdoseg.image.organ_maps import OrganMaps
from abdoseg.image.volume import Geometry
from abdoseg.inference.postprocess import body_middle, postprocess, split_sides

GRID = Geometry((40, 20, 20), np.diag([10.0, 10.0, 10.0, 1.0]))  # a voxel is 1 ml
SOFT = np.full(GRID.shape, 40, np.float32)


def margins(*boxes):
    """A margin of -1 with 2 in each box, an organ for each list of boxes."""
    values = np.full((len(boxes), *GRID.shape), -1, np.float16)
    for margin, parts in zip(values, boxes, strict=True):
        for box in parts:
            margin[tuple(slice(a, b) for a, b in box)] = 2
    return values


BIG, SMALL = ((4, 8), (4, 8), (4, 8)), ((14, 16), (4, 6), (4, 6))


def test_the_largest_piece_stays_and_the_rest_is_turned_over():
    values = margins([BIG, SMALL])
    maps, changes = postprocess(OrganMaps(values, ("liver",), GRID), SOFT, None)
    assert (values > 0).sum() == 64
    assert values[0, 14, 4, 4] == -2
    assert changes["liver"].dropped_ml == pytest.approx(8)
    assert changes["liver"].sentences("liver") == ["liver: 8.0 ml (12% of it) lay apart and were dropped"]
    assert maps.box("liver") == tuple(slice(*ends) for ends in BIG)


def test_a_hole_is_filled_but_not_where_another_organ_lies():
    values = margins([BIG], [])
    values[0, 5, 5, 5] = values[0, 6, 6, 6] = -3
    values[1, 6, 6, 6] = 3
    _, changes = postprocess(OrganMaps(values, ("liver", "spleen"), GRID), SOFT, None)
    assert values[0, 5, 5, 5] > 0
    assert values[0, 6, 6, 6] < 0
    assert changes["liver"].filled_ml == pytest.approx(1)


def test_where_a_hole_is_filled_no_other_organ_may_win_between_the_voxels():
    values = margins([BIG], [])
    values[:, 5:7, 5, 5] = [[-0.1, -3], [-0.1, 3]]  # of a hole of two voxels the second is a tumour's
    postprocess(OrganMaps(values, ("liver", "liver_tumour"), GRID), SOFT, None)
    assert values[0, 5, 5, 5] > 0
    assert (values[:, 5:7, 5, 5].astype(np.float32).sum(axis=0) <= 0).all()


@pytest.mark.parametrize("organs", [["liver", "spleen"], ["spleen", "liver"]])
def test_a_hole_that_held_a_dropped_piece_is_filled_whichever_comes_first(organs):
    values = margins([BIG], [SMALL])[:: 1 if organs[0] == "liver" else -1].copy()
    liver, spleen = values[organs.index("liver")], values[organs.index("spleen")]
    liver[5, 5, 5], spleen[5, 5, 5] = -3, 3
    postprocess(OrganMaps(values, tuple(organs), GRID), SOFT, None)
    assert liver[5, 5, 5] > 0 > spleen[5, 5, 5]


def test_a_lesion_may_be_in_many_pieces():
    values = margins([BIG, SMALL])
    postprocess(OrganMaps(values, ("liver_tumour",), GRID), SOFT, None)
    assert (values > 0).sum() == 72


def test_a_piece_of_kidney_beyond_the_middle_changes_its_name():
    right, left = ((26, 30), (4, 8), (4, 8)), ((10, 14), (4, 8), (4, 8))
    stray = ((10, 14), (8, 10), (4, 8))  # under the right one's name, on the left one
    values = margins([right, stray], [left])
    _, changes = postprocess(OrganMaps(values, ("kidney_right", "kidney_left"), GRID), SOFT, 19.5)
    assert (values[0] > 0).sum() == 64
    assert (values[1] > 0).sum() == 64 + 32
    assert changes["kidney_left"].moved_ml == pytest.approx(32)
    assert changes["kidney_right"].dropped_ml == 0


@pytest.mark.parametrize("middle", [None, 12.0])
def test_a_kidney_near_the_middle_or_without_one_keeps_its_name(middle):
    values = margins([((10, 14), (4, 8), (4, 8))], [])
    postprocess(OrganMaps(values, ("kidney_right", "kidney_left"), GRID), SOFT, middle)
    assert (values[0] > 0).sum() == 64


def test_the_middle_halves_a_body_and_is_unknown_for_one_that_is_cut():
    body = np.zeros((20, 10, 5), bool)
    body[4:11] = True
    assert body_middle(body) == 7.0
    body[:4] = True
    assert body_middle(body) is None
    assert body_middle(np.zeros((4, 4, 4), bool)) is None


def test_one_margin_of_both_kidneys_is_parted_by_their_pieces():
    both = margins([((26, 30), (4, 8), (4, 8)), ((10, 14), (4, 8), (4, 8))])[0]
    right, left = split_sides(both, 19.5)
    assert (right > 0).sum() == (left > 0).sum() == 64
    assert right[27, 5, 5] == left[11, 5, 5] == 2
    assert right[11, 5, 5] == left[27, 5, 5] == -2
    assert right[0, 0, 0] == left[0, 0, 0] == -1


def test_two_pieces_at_the_border_that_cuts_the_organ_are_both_kept():
    big, small = ((4, 8), (4, 8), (0, 4)), ((14, 16), (4, 6), (0, 2))
    values = margins([big, small, ((20, 22), (4, 6), (3, 5)), ((30, 31), (4, 5), (0, 1))])
    _, changes = postprocess(OrganMaps(values, ("liver",), GRID), SOFT, None)
    assert (values > 0).sum() == 64 + 8  # the one away from the border goes, and the one of a single voxel
    assert changes["liver"].dropped_ml == pytest.approx(9)


FINE = Geometry((60, 60, 60), np.diag([3.0, 3.0, 3.0, 1.0]))
FROM_MIDDLE = np.sqrt(sum((x - 29.5) ** 2 for x in np.indices(FINE.shape)))
BALL = (FROM_MIDDLE < 12).astype(np.float16) * 4 - 2
BODY = np.where(FROM_MIDDLE < 24, 40, -1000).astype(np.float32)
SKULL = np.where((FROM_MIDDLE > 17) & (FROM_MIDDLE < 21), 700, BODY)


def kept(image, field=BALL):
    """Voxels of the liver that stay, and millilitres that went for what encloses them."""
    values = field[None].copy()
    changes = postprocess(OrganMaps(values, ("liver",), FINE), image, None)[1]["liver"]
    return int((values > 0).sum()), changes.brain_ml


def test_what_lies_in_a_skull_is_dropped():
    whole = int((BALL > 0).sum())
    for skull in (SKULL, SKULL.clip(-125, 275)):  # also without any gas to be seen
        count, brain_ml = kept(skull)
        assert count == 0
        assert brain_ml == pytest.approx(whole * FINE.voxel_ml)
    assert kept(BODY) == (whole, 0)
    assert kept(np.where(np.indices(FINE.shape)[0] < 30, SKULL, BODY)) == (whole, 0)  # half a skull
    assert kept(np.full(FINE.shape, 40, np.float32)) == (whole, 0)


@pytest.mark.parametrize("ends", [slice(20, 40), slice(29, 60)])
def test_a_brain_that_the_scan_cuts_is_dropped_too(ends):
    field, grid = BALL[:, :, ends], Geometry(BALL[:, :, ends].shape, FINE.affine)
    values = field[None].copy()
    changes = postprocess(OrganMaps(values, ("liver",), grid), np.ascontiguousarray(SKULL[:, :, ends]), None)[1][
        "liver"
    ]
    assert not (values > 0).any()
    assert changes.dropped_ml == changes.brain_ml > 0


def test_a_bright_kidney_amid_bowel_full_of_contrast_medium_is_no_brain():
    assert kept(np.where(FROM_MIDDLE < 12, 140, SKULL).astype(np.float32)) == (int((BALL > 0).sum()), 0)


def test_bone_beyond_lung_a_bright_cortex_and_noise_enclose_nothing():
    whole = int((BALL > 0).sum())
    lung = np.where((FROM_MIDDLE > 13) & (FROM_MIDDLE < 17), -800, SKULL)
    assert kept(lung) == (whole, 0)
    assert kept(np.where((FROM_MIDDLE > 8) & (FROM_MIDDLE < 11), 300, BODY)) == (whole, 0)
    noise = np.random.default_rng(0).normal(60, 50, FINE.shape)
    assert kept((BODY + noise).astype(np.float32)) == (whole, 0)


def test_below_a_larger_piece_in_the_skull_the_organ_stays():
    field, image = np.full((60, 60, 120), -2, np.float16), np.full((60, 60, 120), 40, np.float32)
    field[:, :, 60:], image[:, :, 60:] = BALL, SKULL
    field[20:30, 20:30, 20:30] = 2
    grid = Geometry(field.shape, FINE.affine)
    values = field[None].copy()
    changes = postprocess(OrganMaps(values, ("liver",), grid), image, None)[1]["liver"]
    assert np.argwhere(values[0] > 0).max(axis=0).tolist() == [29, 29, 29]
    assert changes.pieces == 1
    assert changes.dropped_ml == changes.brain_ml > 0
    assert ["as a brain does" in line for line in changes.sentences("liver")] == [True]


def test_fluid_on_the_spleen_is_cut_off_with_what_then_lies_apart_and_on_a_kidney_it_is_not():
    grid = Geometry((60, 60, 60), np.diag([2.0, 2.0, 2.0, 1.0]))
    field, image = np.full((1, *grid.shape), -2, np.float16), np.full(grid.shape, -90, np.float32)
    field[0, 10:50, 10:40, 10:40], image[10:50, 10:40, 10:40] = 2, 110
    image[28:46, 10:40, 10:40] = 5  # the fluid has tissue on both sides: 18 planes of it, then 4
    for organ, planes in (("spleen", 18), ("kidney_left", 40)):
        values = field.copy()
        maps, changes = postprocess(OrganMaps(values, (organ,), grid), image, None)
        mask, solid = maps.mask(organ), planes * 900
        assert mask[10 : 10 + planes, 10:40, 10:40].sum() > 0.97 * solid
        assert mask.sum() == pytest.approx(solid, rel=0.05)  # a rim at the corners may stay
        assert changes[organ].fluid_ml == pytest.approx((36000 - mask.sum()) * grid.voxel_ml)
        assert changes[organ].kept_ml == pytest.approx(mask.sum() * grid.voxel_ml)


def test_in_a_slab_both_lobes_stay_when_fluid_on_one_is_cut_off():
    grid = Geometry((60, 60, 20), np.diag([2.0, 2.0, 2.0, 1.0]))
    values, image = np.full((1, *grid.shape), -2, np.float16), np.full(grid.shape, -90, np.float32)
    values[0, 2:34, 10:40], image[2:34, 10:40] = 2, 110
    values[0, 40:58, 10:40], image[40:58, 10:40] = 2, 110  # larger than what fluid leaves of the other
    image[17:34, 10:40] = 5
    maps, changes = postprocess(OrganMaps(values, ("liver",), grid), image, None)
    mask = maps.mask("liver")
    assert mask[40:58].sum() == 18 * 30 * 20
    assert mask[2:17].sum() > 0.97 * 15 * 30 * 20
    assert changes["liver"].fluid_ml == pytest.approx(17 * 30 * 20 * grid.voxel_ml, rel=0.05)
