"""What anatomy knows and a network may not: one piece an organ, no holes, kidneys on their sides, no skull around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.image.components import Box, Mask, components, grown, holes, positive, positive_box
from abdoseg.image.volume import Array, Geometry
from abdoseg.runtime.threads import on_all_cores

CLEARLY_MM = 15.0  # beyond the body's middle, where a piece of kidney is on the other side for certain
JOINED = 0.1  # of the largest piece: how large another must be to count as the same organ, cut by the scan's border
# A brain is dark, and around it is bone in all directions, without fat between. By `_walled` made-up ones have .8 and
# more; organs of 25 patients, as they are and painted, at most .62, but a bright kidney amid bowel full of contrast
# medium .74. The HU of bone do for thin skulls and for scans that were clipped.
BRAIN_HU, BONE_HU, FAT_HU, WALLED = 70.0, 180.0, -70.0, 0.7
RAYS, STEP_MM, FAR_MM = 128, 1.5, 240.0
WORTH_ML = 1.0  # a change smaller than this is counted, but not talked about


@dataclass
class Changes:
    """What was changed of one organ, in millilitres: pieces dropped, holes filled, pieces taken from the other side.

    pieces: how many were dropped. walled_ml: what was dropped because bone encloses it. within: a box that holds what
    is left of the organ; None when there was nothing.
    """

    pieces: int = 0
    dropped_ml: float = 0.0
    walled_ml: float = 0.0
    filled_ml: float = 0.0
    moved_ml: float = 0.0
    within: Box | None = None

    @property
    def total_ml(self) -> float:
        """All that changed hands."""
        return self.dropped_ml + self.filled_ml + self.moved_ml

    def sentences(self, organ: str) -> list[str]:
        """The changes that are worth a note."""
        told = (
            (self.dropped_ml - self.walled_ml, "lay apart from the largest piece and were dropped"),
            (self.walled_ml, "lay in bone on all sides, as a brain does, and were dropped"),
            (self.filled_ml, "of holes were filled"),
            (self.moved_ml, "lay on this side under the other side's name and were given to it"),
        )
        return [f"{organ}: {ml:.1f} ml {what}" for ml, what in told if ml >= WORTH_ML]


def tidy(
    fields: npt.NDArray[np.float16],
    organs: Sequence[str],
    image: npt.NDArray[np.float32],
    geometry: Geometry,
    middle: float | None,
) -> dict[str, Changes]:
    """Corrects the fields (D, I, J, K) of `organs` where they lie, and says what was changed.

    image: (I, J, K) HU, geometry: of its and the fields' grid. middle: index along I of the body's middle; None when
    it is not known, and then sides are not checked. A voxel changes hands by its field's sign, so that borders stay
    where they were.
    """
    changes = {organ: Changes() for organ in organs}
    ml = geometry.voxel_ml
    if middle is not None:
        _sort_sides(fields, organs, geometry, middle, changes)
    enclosed: list[tuple[tuple[slice, ...], Mask] | None] = [None] * len(organs)

    def prune(n: int) -> None:
        change = changes[organs[n]]
        change.within = positive_box(fields[n])
        if change.within is None or BY_NAME[organs[n]].is_lesion:
            return
        box = grown(change.within, 1, image.shape)
        inside = fields[n][box]
        numbers, sizes = components(positive(inside))
        change.walled_ml = _without_walled(numbers, sizes, box, image, geometry) * ml
        belonging = _belonging(numbers, sizes, box, image.shape)
        loose = (numbers > 0) & ~belonging[numbers]
        inside[loose] = -inside[loose]
        change.pieces += int(np.count_nonzero(~belonging[1:]))
        change.dropped_ml += float(loose.sum()) * ml
        change.within = positive_box(fields[n], box)
        if change.within is not None:
            left = grown(change.within, 1, image.shape)
            enclosed[n] = left, holes(positive(fields[n][left]))

    on_all_cores(prune, len(organs))
    for field, organ, hollow in zip(fields, organs, enclosed, strict=True):
        if hollow is not None:
            box, filled = hollow
            filled &= ~positive(fields[:, *box]).any(axis=0)
            lead = np.maximum(np.abs(field[box][filled]), np.float16(1e-3))
            for other in fields:  # trails by as much, so that between voxels, too, only one is above 0
                other[box][filled] = np.minimum(other[box][filled], -lead)
            field[box][filled] = lead
            changes[organ].filled_ml += float(filled.sum()) * ml
    return changes


def _without_walled(
    numbers: npt.NDArray[np.uint32],
    sizes: npt.NDArray[np.int64],
    box: tuple[slice, ...],
    image: npt.NDArray[np.float32],
    geometry: Geometry,
) -> int:
    """Voxels of the largest pieces in the `box` that are a brain's, one after the other; their sizes become 0."""
    walled, start = 0, tuple(part.start for part in box)
    for number in np.argsort(sizes)[::-1]:
        piece = np.asarray(numbers == number)
        if sizes[number] * geometry.voxel_ml < WORTH_ML or np.median(image[box][piece]) > BRAIN_HU:
            break
        if _walled(piece, start, image, geometry) < WALLED:
            break
        walled, sizes[number] = walled + int(sizes[number]), 0
    return walled


def _walled(piece: Mask, start: tuple[int, ...], image: npt.NDArray[np.float32], geometry: Geometry) -> float:
    """The share of directions from a piece's middle in which bone comes before fat or gas, of those that show either.

    0 where less than half of them do. Directions are a golden spiral around a ball; along them means of 2 x 2 x 2
    voxels are looked at, which noise makes no bone of, and the piece itself is passed over.
    """
    voxels = np.argwhere(piece)
    middle = voxels[np.square((voxels - voxels.mean(axis=0)) * geometry.spacing_mm).sum(axis=1).argmin()]
    up = np.linspace(-1, 1, RAYS)
    turn, aside = np.pi * (1 + 5**0.5) * np.arange(RAYS), np.sqrt(1 - up**2)
    directions = np.stack([aside * np.cos(turn), aside * np.sin(turn), up], axis=1)
    along = directions[:, None] * np.arange(0, FAR_MM, STEP_MM)[:, None] / geometry.spacing_mm
    at: npt.NDArray[np.intp] = np.floor(middle + 0.5 + along).astype(int)  # (RAYS, steps, 3)
    own = _at(piece, at, False)
    eight = [_at(image, at + start - corner, np.nan) for corner in np.ndindex(2, 2, 2)]
    hu = np.where(own, np.nan, np.mean(eight, axis=0))  # no number beyond the image
    bone, fat = (hu > BONE_HU).argmax(axis=1), (hu < FAT_HU).argmax(axis=1)  # 0: none, for the middle is neither
    known = (bone > 0) | (fat > 0)
    if known.mean() < 0.5:
        return 0.0
    return float(((bone > 0) & ((bone < fat) | (fat == 0))).sum() / known.sum())


def _at(values: Array, at: npt.NDArray[np.intp], beyond: float) -> Array:
    """Values (I, J, K) at indices (..., 3), another beyond them."""
    within = np.asarray(((at >= 0) & (at < values.shape)).all(axis=-1))
    return np.where(within, values[tuple(np.moveaxis(at * within[..., None], -1, 0))], beyond)


def _belonging(
    numbers: npt.NDArray[np.uint32], sizes: npt.NDArray[np.int64], box: tuple[slice, ...], shape: tuple[int, ...]
) -> Mask:
    """(N + 1,) which pieces are the organ: the largest, and others of some size at a border that it reaches too.

    Beyond the border those may be one: a slab through the liver shows its lobes apart.
    """
    belonging = np.zeros(len(sizes), bool)
    if not sizes.any():
        return belonging
    belonging[sizes.argmax()] = True
    for axis in range(3):
        for end, at_border in ((0, box[axis].start == 0), (-1, box[axis].stop == shape[axis])):
            here = np.unique(numbers.take(end, axis)) if at_border else np.empty(0, int)
            if sizes.argmax() in here:
                belonging[here[sizes[here] >= JOINED * sizes.max()]] = True
    return belonging


def part_sides(field: npt.NDArray[np.float16], middle: float) -> tuple[npt.NDArray[np.float16], ...]:
    """The right and the left of a field (I, J, K) that shows both: each piece goes to the side of its centre."""
    numbers, centres = _centres(field)
    sides = []
    for there in (centres > middle, centres <= middle):
        there[0] = True
        elsewhere = ~there[numbers]
        side = field.copy()
        side[elsewhere] = -side[elsewhere]
        sides.append(side)
    return tuple(sides)


def middle_of(body: Mask) -> float | None:
    """The index along I that halves the body (I, J, K); None when the body is cut on either side, or is not there."""
    columns = body.sum(axis=(1, 2), dtype=np.int64)
    height = columns.max()
    if height == 0 or max(columns[0], columns[-1]) > 0.25 * height:
        return None
    return float((np.arange(len(columns)) * columns).sum() / columns.sum())


def _sort_sides(
    fields: npt.NDArray[np.float16],
    organs: Sequence[str],
    geometry: Geometry,
    middle: float,
    changes: dict[str, Changes],
) -> None:
    """Gives each piece of a kidney that lies clearly on the other kidney's side to that kidney."""
    if not {"kidney_right", "kidney_left"} <= set(organs):
        return
    right, left = fields[organs.index("kidney_right")], fields[organs.index("kidney_left")]
    strays = [
        (right, left, "kidney_left", *_beyond(right, -1, geometry, middle)),
        (left, right, "kidney_right", *_beyond(left, 1, geometry, middle)),
    ]
    for own, other, name, box, stray in strays:
        other[box][stray], own[box][stray] = own[box][stray], -own[box][stray]
        changes[name].moved_ml += float(stray.sum()) * geometry.voxel_ml


def _beyond(field: npt.NDArray[np.float16], sign: int, geometry: Geometry, middle: float) -> tuple[Box, Mask]:
    """The field's box, and in it the pieces whose centre lies clearly beyond the middle, to the patient's right (1) or
    left (-1)."""
    box = positive_box(field) or (slice(0, 0),) * 3
    numbers, centres = _centres(field[box])
    stray = sign * (centres + box[0].start - middle) * geometry.spacing_mm[0] > CLEARLY_MM
    stray[0] = False
    return box, np.asarray(stray[numbers])


def _centres(field: npt.NDArray[np.float16]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float64]]:
    """The numbers of a field's pieces (I, J, K), and the index along I of each piece's centre, [0] meaning nothing."""
    numbers, sizes = components(positive(field))
    along = np.zeros(len(sizes))
    for i, plane in enumerate(numbers):
        along += i * np.bincount(plane.ravel(), minlength=len(sizes))
    return numbers, along / np.maximum(sizes, 1)
