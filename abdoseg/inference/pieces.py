"""Connected components that could be one organ: the likeliest is kept, by probability, HU, volume and position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.reference_ranges import (
    POSITION_MM,
    POSITION_SD_MM,
    USUAL_ML_SD,
    expected_hu,
    hu_above_liver,
    usual_ml,
)
from abdoseg.image.components import Box, Mask, components, positive
from abdoseg.image.organ_maps import Margins, OrganMaps

# From this fraction of the chosen piece's size on, another one at a border that both reach is the same organ.
JOINED = 0.1
# Pieces below this fraction of the largest one, or these ml, are never taken for the organ.
LEAST_RIVAL, LEAST_RIVAL_ML = 0.05, 2.0
# Mean probability of whole organs in 40 scans: .95 +- .02, of small and diseased ones down to .88; of ascites, bowel
# and masses that were called one: .69 to .89.
USUAL_CONFIDENCE, CONFIDENCE_SD = 0.95, 0.04
MAX_SQUARE = 9.0  # that a squared deviation may count: no sign alone decides against two others


@dataclass(frozen=True, eq=False)
class Pieces:
    """The connected pieces of an organ in a box that holds them all.

    numbers: (I, J, K) uint32, a piece's number at each of its voxels, 0 elsewhere. sizes: (N + 1,) voxels by number.
    """

    box: Box
    numbers: npt.NDArray[np.uint32]
    sizes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, margin: Margins, box: Box) -> Pieces:
        """The pieces of a margin (I, J, K) that is positive in the box alone."""
        return cls(box, *components(positive(margin[box])))

    @property
    def largest(self) -> int:
        """The number of the largest piece; 0 where there is none."""
        return int(self.sizes.argmax())

    def rivals(self, voxel_ml: float) -> list[int]:
        """The numbers of the pieces that may be the organ; the largest first."""
        least = max(LEAST_RIVAL * self.sizes.max(), LEAST_RIVAL_ML / voxel_ml)
        large = np.flatnonzero(self.sizes >= least)
        return [int(number) for number in large[np.argsort(-self.sizes[large], kind="stable")]]

    def belonging(self, chosen: int, shape: tuple[int, ...]) -> Mask:
        """(N + 1,) which pieces are the organ: the chosen one, and others of some size at a border that it reaches too.

        Beyond the border those may be one: a slab through the liver shows its lobes apart. shape: the image's.
        """
        belonging = np.zeros(len(self.sizes), bool)
        belonging[chosen] = chosen > 0
        for axis in range(3):
            part = self.box[axis]
            for end, at_border in ((0, part.start == 0), (-1, part.stop == shape[axis])):
                here = np.unique(self.numbers.take(end, axis)) if at_border else np.empty(0, int)
                if chosen and chosen in here:
                    belonging[here[self.sizes[here] >= JOINED * self.sizes[chosen]]] = True
        return belonging


@dataclass(frozen=True, eq=False)
class Piece:
    """What is known of one piece. hu: median. centre_mm: (3,) RAS. cut: it reaches the image's border."""

    volume_ml: float
    confidence: float
    hu: float
    centre_mm: npt.NDArray[np.float64]
    cut: bool


def likeliest(found: Mapping[str, Pieces], maps: OrganMaps, image: npt.NDArray[np.float32]) -> dict[str, int]:
    """For each organ the number of the piece that it is: the largest, unless a rival is likelier; 0 for none.

    Rivals are weighed by how many standard deviations they lie off what is usual: see `improbability`. The other
    organs' largest pieces say where an organ would lie and how bright it would be.
    """
    chosen = {organ: pieces.largest for organ, pieces in found.items()}
    voxel_ml = maps.grid.voxel_ml
    rivals = {organ: pieces.rivals(voxel_ml) for organ, pieces in found.items() if organ in POSITION_MM}
    if all(len(numbers) < 2 for numbers in rivals.values()):
        return chosen
    largest = {
        organ: _piece(found[organ], numbers[0], maps, organ, image) for organ, numbers in rivals.items() if numbers
    }
    for organ, numbers in rivals.items():
        if len(numbers) > 1:
            others = {other: piece for other, piece in largest.items() if other != organ}
            costs = [
                improbability(organ, _piece(found[organ], number, maps, organ, image), others) for number in numbers
            ]
            chosen[organ] = numbers[int(np.argmin(costs))]
    return chosen


def improbability(organ: str, piece: Piece, others: Mapping[str, Piece]) -> float:
    """How far a piece is from the organ as it usually is: the sum of squared deviations, each below MAX_SQUARE.

    In standard deviations, of its mean probability (only where it is lower than usual), its volume on a logarithmic
    scale (half of it where the piece is small and cut), its HU, and its centre along each axis as the others place it.
    Raises KeyError for an organ without reference ranges.
    """
    deviations = [min(0.0, piece.confidence - USUAL_CONFIDENCE) / CONFIDENCE_SD]
    size = np.log(piece.volume_ml / usual_ml(organ)) / USUAL_ML_SD
    deviations.append(size / 2 if piece.cut and size < 0 else size)
    if organ != "liver" and "liver" in others:
        above, sd = hu_above_liver(organ)
        deviations.append((piece.hu - others["liver"].hu - above) / sd)
    else:
        usual_hu = expected_hu(organ)
        assert usual_hu is not None  # every organ with a usual volume has one
        low, high = usual_hu
        deviations.append((piece.hu - (low + high) / 2) / ((high - low) / 4))
    if others:
        origin = np.median([one.centre_mm - POSITION_MM[other] for other, one in others.items()], axis=0)
        deviations += list((piece.centre_mm - origin - POSITION_MM[organ]) / POSITION_SD_MM)
    squares = np.square(deviations)
    return float((MAX_SQUARE * squares / (MAX_SQUARE + squares)).sum())


def _piece(pieces: Pieces, number: int, maps: OrganMaps, organ: str, image: npt.NDArray[np.float32]) -> Piece:
    """What is known of the piece of that number."""
    box, mask = pieces.box, np.asarray(pieces.numbers == number)
    margins = maps.margin(organ)[box][mask].astype(np.float32)
    centre = np.argwhere(mask).mean(axis=0) + [part.start for part in box]
    reaches = [
        (part.start == 0 and mask.take(0, axis).any()) or (part.stop == n and mask.take(-1, axis).any())
        for axis, (part, n) in enumerate(zip(box, image.shape, strict=True))
    ]
    affine = maps.grid.affine
    return Piece(
        volume_ml=len(margins) * maps.grid.voxel_ml,
        confidence=float((1 / (1 + np.exp(-margins))).mean()),
        hu=float(np.median(image[box][mask])),
        centre_mm=affine[:3, :3] @ centre + affine[:3, 3],
        cut=any(reaches),
    )
