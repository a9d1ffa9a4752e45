"""Organ maps: masks and boxes of each organ, and some of them alone."""

import numpy as np
import pytest

from abdoseg.image.organ_maps import OrganMaps
from abdoseg.image.volume import Geometry

GRID = Geometry((6, 5, 4), np.eye(4))
ORGANS = ("liver", "spleen", "aorta")


def maps():
    margins = np.full((3, *GRID.shape), -1, np.float16)
    margins[0, 1:3, 2, 3] = 2
    margins[1, 4, 0:2, 1] = 3
    return OrganMaps(margins, ORGANS, GRID)


def test_an_organ_is_where_its_margin_is_positive():
    assert maps().mask("liver").sum() == 2
    assert maps().box("spleen") == (slice(4, 5), slice(0, 2), slice(1, 2))
    assert maps().box("aorta") is None
    with pytest.raises(ValueError, match="not in tuple"):
        maps().margin("kidney")


@pytest.mark.parametrize("organs", [("liver", "spleen"), ("spleen", "aorta"), ("aorta", "liver"), ("spleen",), ()])
def test_some_organs_keep_their_margins_and_boxes_in_the_order_asked_for(organs):
    whole = OrganMaps(maps().margins, ORGANS, GRID, {"liver": (slice(0, 6),) * 3, "spleen": None})
    some = whole.select(organs)
    assert some.organs == organs
    assert some.margins.shape == (len(organs), *GRID.shape)
    for organ in organs:
        np.testing.assert_array_equal(some.margin(organ), whole.margin(organ))
        assert organ not in whole.boxes or some.box(organ) == whole.box(organ)


def test_organs_side_by_side_are_a_view():
    whole = maps()
    assert np.shares_memory(whole.select(("spleen", "aorta")).margins, whole.margins)
    assert not np.shares_memory(whole.select(("aorta", "liver")).margins, whole.margins)
