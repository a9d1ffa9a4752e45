"""Odd parts of organs, told by their HU: a mass in or at an organ, fluid in or at a kidney.

Both are sought in means of several voxels, in which there is little noise, and in whole blocks of them, away from an
organ's surface, where fat or air and the organ together look like something else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from abdoseg.image.blocks import block_means, filled_blocks, touched_blocks
from abdoseg.image.components import Mask, box_of, components, dilated, grown, interior, positive
from abdoseg.image.organ_maps import OrganMaps
from abdoseg.image.volume import Geometry
from abdoseg.runtime.threads import on_all_cores

SOLID, KIDNEYS = ("liver", "spleen"), ("kidney_right", "kidney_left")
HU = npt.NDArray[np.float32]

# A mass is a connected part of liver or spleen that is darker than the organ's commonest HU by this, and by so many
# standard deviations of what is brighter; at least half of it by a third more. What arms beside the trunk darken is
# less even: that fraction is .14 and .36 there, .6 and more in the tumours, the cyst, the mass and the ascites of five
# scans. And a mass is compact, where the dark bands of a spleen in the arterial phase are thin: .33 to .69 of a mass's
# blocks have neighbours of it on all six sides, .07 at most of painted bands. 15 ml is a ball of 31 mm.
MASS_ML, MASS_HU, MASS_SD = 15.0, 30.0, 2.5
DEEPER, EVEN, COMPACT = 4 / 3, 0.5, 0.2
MASS_BLOCK = 3  # voxels along each edge of a block
# In a kidney a mass may be larger than what is left, and the pyramids are dark: it is so much darker than the brightest
# tenth. In 35 scans that is the hydronephrosis, the cysts, and a mass behind a liver that is called kidney, of which
# .31 and more are compact; of a sinus at most .07.
KIDNEY_MASS_HU = 70.0
LEAST_BLOCKS = 100  # of an organ, for its commonest HU to be known
_BIN_HU, _BINS_HU = 4, np.arange(-200, 400, 4)

FLUID_HU = (-10.0, 25.0)
FLUID_DARKER_HU = 20.0  # than the kidney: its parenchyma has 30 HU without contrast medium
# Fluid is told from its neighbours by what is left of it without its surface. In 35 scans the hydronephrosis and the
# three cysts that were seen have 2.6 ml or more of such a core, and .42 to .60 of what surrounds them is kidney; of
# bowel, ascites and veins beside kidneys at most .11.
FLUID_ML, CORE_ML, ENCLOSED = 10.0, 2.0, 0.3
AROUND_MM = 24.0  # of the kidney, where fluid may lie


@dataclass(frozen=True)
class OddPart:
    """What of an organ, or at a kidney, has HU that are not the organ's.

    ml: about. hu: its mean. usual_hu: of the organ. organ_ml: of the organ with its lesions; 0 where not recorded.
    fluid: in or at a kidney; else a mass.
    """

    ml: float
    hu: float
    usual_hu: float
    organ_ml: float = 0.0
    fluid: bool = False


def odd_parts(maps: OrganMaps, image: HU) -> dict[str, OddPart]:
    """The odd part of each organ that has one. Lesions are to be part of their organ.

    image: (I, J, K) HU on the maps' grid.
    """
    found: dict[str, OddPart | None] = {}

    def look(n: int) -> None:
        organ = maps.organs[n]
        box = maps.box(organ)
        if box is None or organ not in (*SOLID, *KIDNEYS):
            return
        if organ in KIDNEYS:
            margin = int(np.ceil(AROUND_MM / min(maps.grid.spacing_mm)))
            box = grown(box, margin, maps.grid.shape)
        mask, hu = positive(maps.margin(organ)[box]), image[box]
        if organ in SOLID:
            found[organ] = find_mass(mask, hu, maps.grid)
        else:
            found[organ] = find_fluid(mask, hu, maps.grid) or find_kidney_mass(mask, hu, maps.grid)

    on_all_cores(look, len(maps.organs))
    return {organ: part for organ in maps.organs if (part := found.get(organ))}


def find_mass(mask: Mask, image: HU, grid: Geometry) -> OddPart | None:
    """The compact parts of an organ (I, J, K) that are clearly and evenly darker, together; None where there is none.

    Brighter parts are not sought: in a fatty liver the vessels are.
    """
    hu, inside = block_means(image, MASS_BLOCK), filled_blocks(mask, MASS_BLOCK)
    values = hu[inside]
    if len(values) < LEAST_BLOCKS:
        return None
    counts = np.convolve(np.histogram(values, _BINS_HU)[0], (1, 2, 3, 2, 1), "same")
    usual = float(_BINS_HU[counts.argmax()] + _BIN_HU / 2)
    above = values[values > usual] - usual
    sd = 1.4826 * float(np.median(above)) if len(above) else 0.0
    darker = max(MASS_HU, MASS_SD * sd)
    found = [part for part in _compact_parts(hu, inside & (hu < usual - darker), grid)
             if (part < usual - DEEPER * darker).mean() >= EVEN]  # fmt: skip
    return _mass(found, usual, mask, grid)


def find_kidney_mass(mask: Mask, image: HU, grid: Geometry) -> OddPart | None:
    """The compact parts of a kidney (I, J, K) that are much darker than its brightest; None where there is none."""
    hu, inside = block_means(image, MASS_BLOCK), filled_blocks(mask, MASS_BLOCK)
    values = hu[inside]
    if len(values) < LEAST_BLOCKS:
        return None
    usual = float(np.percentile(values, 90))
    dark = inside & (hu > FLUID_HU[0]) & (hu < usual - KIDNEY_MASS_HU)  # what is darker still is fat of the sinus
    return _mass(_compact_parts(hu, dark, grid), usual, mask, grid)


def _compact_parts(hu: HU, dark: Mask, grid: Geometry) -> list[HU]:
    """The HU of each connected part of dark blocks that is large and compact enough for a mass."""
    numbers, sizes = components(dark)
    parts = [numbers == number for number in np.flatnonzero(sizes * MASS_BLOCK**3 * grid.voxel_ml >= MASS_ML)]
    return [hu[part] for part in parts if interior(part).sum() >= COMPACT * part.sum()]


def _mass(parts: list[HU], usual: float, mask: Mask, grid: Geometry) -> OddPart | None:
    if not parts:
        return None
    found = np.concatenate(parts)
    ml, organ_ml = len(found) * MASS_BLOCK**3 * grid.voxel_ml, np.count_nonzero(mask) * grid.voxel_ml
    return OddPart(float(ml), float(found.mean()), usual, float(organ_ml))


def find_fluid(mask: Mask, image: HU, grid: Geometry) -> OddPart | None:
    """Fluid in a kidney (I, J, K) or at it, of which kidney surrounds a good part; None where there is too little.

    That is a dilated pelvis as well as a cyst, whether the mask has it or not. Urine full of contrast medium is not
    found, nor fluid beyond the arrays' ends.
    """
    hu, inside = block_means(image, 2), filled_blocks(mask, 2)
    values, block_ml, spacing_mm = hu[inside], 8 * grid.voxel_ml, 2 * grid.spacing_mm
    if len(values) < LEAST_BLOCKS:
        return None
    usual = float(np.percentile(values, 90))
    wet = (hu > FLUID_HU[0]) & (hu < min(FLUID_HU[1], usual - FLUID_DARKER_HU))
    core = interior(wet)
    if np.count_nonzero(core) * block_ml < CORE_ML:
        return None
    kidney, layer_mm = touched_blocks(mask, 2), 1.1 * float(spacing_mm.max())  # to the next block along each axis
    numbers, sizes = components(core)
    fluid = np.zeros_like(wet)
    for number in np.flatnonzero(sizes * block_ml >= CORE_ML):
        near = grown(box_of(numbers == number) or (slice(0, 0),) * 3, 4, wet.shape)
        pool = wet[near] & dilated(numbers[near] == number, layer_mm, spacing_mm)
        edge = dilated(pool, layer_mm, spacing_mm)  # half fluid, half what surrounds it
        around = dilated(edge, layer_mm, spacing_mm) & ~edge
        if np.count_nonzero(kidney[near] & around) >= ENCLOSED * np.count_nonzero(around):
            fluid[near] |= pool
    ml = float(np.count_nonzero(fluid) * block_ml)
    organ_ml = float(np.count_nonzero(mask) * grid.voxel_ml)
    return OddPart(ml, float(hu[fluid].mean()), usual, organ_ml, fluid=True) if ml >= FLUID_ML else None
