"""Fluid labelled as part of a solid organ, as ascites at its outside: found by its HU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from abdoseg.image.blocks import block_means, filled_blocks, touched_blocks
from abdoseg.image.components import Mask, components, interior

FLUID_HU = (-30.0, 30.0)  # water has 0, ascites and effusions up to 25
DARKER_HU = 40.0  # than the organ itself: a fatty liver without contrast medium is not told from fluid
HANGING, HANGING_ML = 0.1, 10.0  # of the organ, and at least: less is left as it is
# Of the fluid's surface, how much must be the organ's surface too: ascites lies on an organ (.5), a cyst, a necrotic
# tumour or a mass in it (.04), and so do the dark parts of a fatty liver (.1).
OUTER = 0.3


def hanging_fluid(mask: Mask, image: npt.NDArray[np.float32], voxel_ml: float) -> Mask | None:
    """The part of an organ that is fluid and lies on its outside; None for none, or where it cannot be told.

    It is sought in means of 2 x 2 x 2 voxels, whose noise is less, away from the organ's surface, where fat and
    soft tissue together look like fluid.

    Args:
        mask: (I, J, K) the organ.
        image: (I, J, K) HU, of the same voxels.
        voxel_ml: of their grid.
    """
    some = image[::2, ::2, ::2][mask[::2, ::2, ::2]]
    if np.count_nonzero((some > FLUID_HU[0]) & (some < FLUID_HU[1])) < HANGING / 2 * len(some):
        return None  # nearly always, and this is quick
    hu, inside = block_means(image, 2), filled_blocks(mask, 2)
    deep = interior(inside)
    values = hu[deep]
    if not len(values):
        return None
    dark = hu < min(FLUID_HU[1], float(np.percentile(values, 90)) - DARKER_HU)
    wet = dark & (hu > FLUID_HU[0])
    least = max(HANGING * len(values), HANGING_ML / (8 * voxel_ml))
    if np.count_nonzero(wet & deep) < least:
        return None
    from scipy import ndimage

    numbers, sizes = components(wet & deep)
    whole = touched_blocks(mask, 2)
    pools = (sizes >= HANGING_ML / (8 * voxel_ml))[numbers]
    fluid = np.asarray(ndimage.binary_dilation(pools, np.ones((3, 3, 3)), iterations=2, mask=dark & whole))
    if np.count_nonzero(fluid & deep) < least or _outer(fluid, whole) < OUTER:
        return None
    voxels = fluid.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    return np.asarray(mask & np.pad(voxels, [(0, n % 2) for n in mask.shape], mode="edge"))


def _outer(part: Mask, whole: Mask) -> float:
    """The fraction of a part's surface that is the whole's surface too."""
    part, whole = np.pad(part, 1), np.pad(whole, 1)
    outside, borders = 0, 0
    for axis in range(3):
        for a, b in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            here = part[(slice(None),) * axis + (a,)]
            there = (slice(None),) * axis + (b,)
            outside += int((here & ~whole[there]).sum())
            borders += int((here & ~part[there]).sum())
    return outside / max(borders, 1)
