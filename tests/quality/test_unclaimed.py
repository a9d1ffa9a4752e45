"""Tissue beyond an organ's border, in balls and boxes worked by hand."""

import numpy as np
import pytest

from abdoseg.image.volume import Geometry
from abdoseg.quality.unclaimed import unclaimed_ml

GRID = Geometry((64, 64, 64), np.diag([1.5, 1.5, 2.0, 1.0]))
NOTHING = np.zeros(GRID.shape, bool)
SPLEEN = NOTHING.copy()
SPLEEN[8:56, 16:48, 16:48] = True
HALF = SPLEEN & (np.arange(64) < 30)[:, None, None]


def scan(*parts, noise_hu=10.0):
    """Fat, and in it masks of so many HU, the later above the earlier."""
    hu = np.full(GRID.shape, -100.0)
    for mask, part_hu in parts:
        hu[mask] = part_hu
    return (hu + np.random.default_rng(0).normal(0, noise_hu, hu.shape)).astype(np.float32)


def test_a_border_through_even_tissue_leaves_the_rest_unclaimed():
    found = unclaimed_ml(HALF, HALF, scan((SPLEEN, 110)), GRID)
    rest_ml = (SPLEEN & ~HALF).sum() * GRID.voxel_ml
    assert 0.6 * rest_ml < found < rest_ml  # less a block along its surface


def test_an_organ_that_ends_at_its_edges_leaves_nothing():
    assert unclaimed_ml(SPLEEN, SPLEEN, scan((SPLEEN, 110)), GRID) == 0


def test_what_another_organ_claims_is_not_unclaimed():
    assert unclaimed_ml(HALF, SPLEEN, scan((SPLEEN, 110)), GRID) == 0


@pytest.mark.parametrize("rest_hu", [60, 160])
def test_tissue_of_other_hu_is_not_like_it(rest_hu):
    assert unclaimed_ml(HALF, HALF, scan((SPLEEN, rest_hu), (HALF, 110)), GRID) == 0


def test_like_tissue_behind_a_layer_of_fat_is_not_joined():
    gap = SPLEEN & (abs(np.arange(64) - 33) < 3)[:, None, None]
    assert unclaimed_ml(HALF, HALF, scan((SPLEEN, 110), (gap, -80)), GRID) == 0


def test_an_organ_of_a_few_blocks_has_no_known_hu():
    crumb = NOTHING.copy()
    crumb[10:18, 18:26, 18:26] = True
    assert unclaimed_ml(crumb, crumb, scan((SPLEEN, 110)), GRID) == 0
