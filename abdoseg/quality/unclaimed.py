"""Tissue beyond an organ's border that looks like the organ, with no edge between: a part that may have been missed.

A network that has seen no spleen of a litre may end one amid even tissue, and be sure of it. A doctor sees that at
once, since every border that can be seen in a CT is a step of HU.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from abdoseg.image.blocks import block_means, filled_blocks, touched_blocks
from abdoseg.image.components import Mask, components, interior
from abdoseg.image.volume import Geometry

REACH_MM = 15.0  # beyond the organ's box, where such tissue is sought
BLOCK = 2  # voxels along each edge
LIKE_SD, LEAST_SD_HU = 1.5, 6.0  # how far a block's mean may be from the organ's, in deviations of the organ's blocks
EVEN, EVEN_HU = 1.5, 3.0  # a block across an edge has more than so many times the organ's usual spread, and so many HU
LEAST_BLOCKS = 50  # within an organ, for its HU to be known


def unclaimed_ml(mask: Mask, claimed: Mask, image: npt.NDArray[np.float32], grid: Geometry) -> float:
    """Millilitres of even tissue of an organ's HU that join it and that no organ claims.

    mask, claimed: (I, J, K) the organ, and all organs. image: (I, J, K) HU. All of one part of the grid.
    """
    hu, squares = block_means(image, BLOCK), block_means(image * image, BLOCK)
    inside, own = filled_blocks(mask, BLOCK), touched_blocks(mask, BLOCK)
    core = interior(inside)
    if np.count_nonzero(core) < LEAST_BLOCKS:
        return 0.0
    spread = np.sqrt(np.maximum(squares - hu * hu, 0))
    usual = np.median(hu[core])
    sd = max(1.4826 * float(np.median(abs(hu[core] - usual))), LEAST_SD_HU)
    alike = (abs(hu - usual) < LIKE_SD * sd) & (spread < EVEN * np.median(spread[core]) + EVEN_HU)
    alike &= ~touched_blocks(claimed & ~mask, BLOCK)
    numbers, sizes = components(interior(alike | inside))
    joined = np.zeros(len(sizes), bool)
    joined[numbers[inside]] = True
    joined[0] = False
    return float(np.count_nonzero(joined[numbers] & ~own) * BLOCK**3 * grid.voxel_ml)
