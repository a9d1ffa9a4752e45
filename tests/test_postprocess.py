"""Corrections of fields by anatomy, on boxes whose answer is worked by hand."""

import numpy as np
import pytest

from abdoseg.postprocess import middle_of, part_sides, tidy
from abdoseg.volume import Geometry

GRID = Geometry((40, 20, 20), np.diag([10.0, 10.0, 10.0, 1.0]))  # a voxel is 1 ml


def fields(*boxes):
    """A field of -1 with 2 in each box, an organ for each list of boxes."""
    values = np.full((len(boxes), *GRID.shape), -1, np.float16)
    for field, parts in zip(values, boxes, strict=True):
        for box in parts:
            field[tuple(slice(a, b) for a, b in box)] = 2
    return values


BIG, SMALL = ((4, 8), (4, 8), (4, 8)), ((14, 16), (4, 6), (4, 6))


def test_the_largest_piece_stays_and_the_rest_is_turned_over():
    values = fields([BIG, SMALL])
    changes = tidy(values, ["liver"], GRID, None)
    assert (values > 0).sum() == 64
    assert values[0, 14, 4, 4] == -2
    assert changes["liver"].dropped_ml == pytest.approx(8)
    assert changes["liver"].sentences("liver") == ["liver: 8.0 ml lay apart from the largest piece and were dropped"]


def test_a_hole_is_filled_but_not_where_another_organ_lies():
    values = fields([BIG], [])
    values[0, 5, 5, 5] = values[0, 6, 6, 6] = -3
    values[1, 6, 6, 6] = 3
    changes = tidy(values, ["liver", "spleen"], GRID, None)
    assert values[0, 5, 5, 5] > 0
    assert values[0, 6, 6, 6] < 0
    assert changes["liver"].filled_ml == pytest.approx(1)


def test_a_lesion_may_be_in_many_pieces():
    values = fields([BIG, SMALL])
    tidy(values, ["liver_tumour"], GRID, None)
    assert (values > 0).sum() == 72


def test_a_piece_of_kidney_beyond_the_middle_changes_its_name():
    right, left = ((26, 30), (4, 8), (4, 8)), ((10, 14), (4, 8), (4, 8))
    stray = ((10, 14), (8, 10), (4, 8))  # under the right one's name, on the left one
    values = fields([right, stray], [left])
    changes = tidy(values, ["kidney_right", "kidney_left"], GRID, 19.5)
    assert (values[0] > 0).sum() == 64
    assert (values[1] > 0).sum() == 64 + 32
    assert changes["kidney_left"].moved_ml == pytest.approx(32)
    assert changes["kidney_right"].dropped_ml == 0


@pytest.mark.parametrize("middle", [None, 12.0])
def test_a_kidney_near_the_middle_or_without_one_keeps_its_name(middle):
    values = fields([((10, 14), (4, 8), (4, 8))], [])
    tidy(values, ["kidney_right", "kidney_left"], GRID, middle)
    assert (values[0] > 0).sum() == 64


def test_the_middle_halves_a_body_and_is_unknown_for_one_that_is_cut():
    body = np.zeros((20, 10, 5), bool)
    body[4:11] = True
    assert middle_of(body) == 7.0
    body[:4] = True
    assert middle_of(body) is None
    assert middle_of(np.zeros((4, 4, 4), bool)) is None


def test_one_field_of_both_kidneys_is_parted_by_their_pieces():
    both = fields([((26, 30), (4, 8), (4, 8)), ((10, 14), (4, 8), (4, 8))])[0]
    right, left = part_sides(both, 19.5)
    assert (right > 0).sum() == (left > 0).sum() == 64
    assert right[27, 5, 5] == left[11, 5, 5] == 2
    assert right[11, 5, 5] == left[27, 5, 5] == -2
    assert right[0, 0, 0] == left[0, 0, 0] == -1


def test_two_pieces_at_the_border_that_cuts_the_organ_are_both_kept():
    big, small = ((4, 8), (4, 8), (0, 4)), ((14, 16), (4, 6), (0, 2))
    values = fields([big, small, ((20, 22), (4, 6), (3, 5)), ((30, 31), (4, 5), (0, 1))])
    changes = tidy(values, ["liver"], GRID, None)
    assert (values > 0).sum() == 64 + 8  # the one away from the border goes, and the one of a single voxel
    assert changes["liver"].dropped_ml == pytest.approx(9)
