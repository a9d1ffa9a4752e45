"""Evidence of each organ on the network's grid: volume, probability, HU, position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.reference_ranges import POSITION_MM
from abdoseg.image.components import Box, Mask, grown_mm, interior, positive, positive_box
from abdoseg.image.organ_maps import OrganMaps
from abdoseg.quality.unclaimed import REACH_MM, unclaimed_ml
from abdoseg.runtime.threads import on_all_cores

Points = npt.NDArray[np.float64]
APART_MM = 4.0  # between an organ's points, along each axis


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the network's grid shows of one organ.

    confidence: mean probability over its voxels against the likeliest other organ. entropy: mean bits of that choice.
    hu: median. cut: it reaches the grid's border. points_mm: (N, 3) RAS, some APART_MM from each other. outer: (N,)
    which of them are not enclosed by others. unclaimed_ml: tissue like it beyond its border, see `unclaimed`; 0 for
    organs without a reference position.
    """

    volume_ml: float
    confidence: float
    entropy: float
    hu: float
    cut: bool
    points_mm: Points
    outer: Mask
    unclaimed_ml: float = 0.0

    @property
    def centre_mm(self) -> Points:
        return np.asarray(self.points_mm.mean(axis=0))


def examine(maps: OrganMaps, image: npt.NDArray[np.float32]) -> dict[str, Evidence]:
    """The evidence for each organ that has a voxel. image: (I, J, K) HU on the maps' grid."""
    found: dict[str, Evidence] = {}
    claimed = np.zeros(image.shape, bool, order="F")
    for organ in maps.organs:
        if box := maps.box(organ):
            claimed[box] |= positive(maps.margin(organ)[box])

    def examine_one(n: int) -> None:
        organ = maps.organs[n]
        if box := maps.box(organ):
            found[organ] = _evidence(maps, organ, box, image, claimed)

    on_all_cores(examine_one, len(maps.organs))
    return {organ: found[organ] for organ in maps.organs if organ in found}


def _evidence(maps: OrganMaps, organ: str, within: Box, image: npt.NDArray[np.float32], claimed: Mask) -> Evidence:
    """The evidence for an organ that is somewhere in a box. claimed: (I, J, K) where any organ is."""
    grid, margin = maps.grid, maps.margin(organ)
    box = positive_box(margin, within)
    assert box is not None
    mask = positive(margin[box])
    ahead = margin[box][mask].astype(np.float32)
    sure = 1 / (1 + np.exp(-ahead))
    bits = (np.logaddexp(0, ahead) - ahead * sure) / np.log(2)  # (N,) of a choice with the odds exp(ahead) to 1
    cut = any(part.start == 0 or part.stop == n for part, n in zip(box, grid.shape, strict=True))
    i, j, k = np.maximum(1, np.round(APART_MM / grid.spacing_mm)).astype(int)
    apart = mask[::i, ::j, ::k]
    if not apart.any():
        i, j, k, apart = 1, 1, 1, mask
    beyond_ml = 0.0
    if organ in POSITION_MM:
        wide = grown_mm(box, REACH_MM, grid.spacing_mm, grid.shape)
        beyond_ml = unclaimed_ml(positive(margin[wide]), claimed[wide], image[wide], grid)
    voxels = np.argwhere(apart) * (i, j, k) + [part.start for part in box]
    return Evidence(
        volume_ml=len(ahead) * grid.voxel_ml,
        confidence=float(sure.mean()),
        entropy=float(bits.mean()),
        hu=float(np.median(image[box][mask])),
        cut=cut,
        points_mm=voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3],
        outer=~interior(apart)[apart],
        unclaimed_ml=beyond_ml,
    )


def gaps_mm(evidence: Mapping[str, Evidence], reach_mm: float) -> dict[str, dict[str, float]]:
    """For each organ the gap to every other, mm between their nearest points, to some APART_MM; inf beyond reach."""
    gaps: dict[str, dict[str, float]] = {organ: {} for organ in evidence}
    for one, other in combinations(evidence, 2):
        here, there = (evidence[organ].points_mm[evidence[organ].outer] for organ in (one, other))
        gap = _gap_mm(here, there, reach_mm)
        gaps[one][other] = gaps[other][one] = gap
    return gaps


def _gap_mm(one: Points, other: Points, reach_mm: float) -> float:
    """Only what lies within reach of the other's box is compared: a few million pairs, and no tree to be imported."""
    for _ in range(2):
        one, other = other, one[((one >= other.min(0) - reach_mm) & (one <= other.max(0) + reach_mm)).all(axis=1)]
        if not len(other):
            return np.inf
    squares = np.square(other).sum(axis=1)
    least = min(float((squares - 2 * p @ other.T + np.square(p).sum(axis=1)[:, None]).min())
                for p in np.array_split(one, 1 + len(one) // 512))  # fmt: skip
    gap = max(least, 0.0) ** 0.5
    return gap if gap <= reach_mm else np.inf
