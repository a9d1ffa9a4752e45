"""Post-processing of organ maps by anatomy: connected components, holes, sides of kidneys, no brain in a skull."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME, host_of
from abdoseg.image.components import Box, Mask, components, grown, holes, positive, positive_box
from abdoseg.image.organ_maps import Margins, OrganMaps
from abdoseg.image.volume import Array, Geometry
from abdoseg.model.plan import members
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

    pieces: how many were dropped. walled_ml: what was dropped because bone encloses it. outside_ml: of a lesion, what
    was dropped because it lay outside its organ.
    """

    pieces: int = 0
    dropped_ml: float = 0.0
    walled_ml: float = 0.0
    filled_ml: float = 0.0
    moved_ml: float = 0.0
    outside_ml: float = 0.0

    @property
    def total_ml(self) -> float:
        """All that changed hands."""
        return self.dropped_ml + self.filled_ml + self.moved_ml + self.outside_ml

    def sentences(self, organ: str) -> list[str]:
        """The changes that are worth a note."""
        told = (
            (self.dropped_ml - self.walled_ml, "lay apart from the largest piece and were dropped"),
            (self.walled_ml, "lay in bone on all sides, as a brain does, and were dropped"),
            (self.filled_ml, "of holes were filled"),
            (self.moved_ml, "lay on this side under the other side's name and were given to it"),
            (self.outside_ml, f"lay outside the {host_of(organ)} and were dropped"),
        )
        return [f"{organ}: {ml:.1f} ml {what}" for ml, what in told if ml >= WORTH_ML]


def postprocess(
    maps: OrganMaps, image: npt.NDArray[np.float32], middle: float | None
) -> tuple[OrganMaps, dict[str, Changes]]:
    """The maps with one piece an organ, without holes, and each kidney on its side; and what was changed, by organ.

    The margins are changed where they lie, by their sign, so that borders stay where they were.

    Args:
        image: (I, J, K) HU on the maps' grid.
        middle: index along I of the body's middle; None when it is not known, and then sides are not checked.
    """
    grid, ml = maps.grid, maps.grid.voxel_ml
    changes = {organ: Changes() for organ in maps.organs}
    boxes: dict[str, Box | None] = {}
    if middle is not None and {"kidney_right", "kidney_left"} <= set(maps.organs):
        _sort_sides(maps, middle, changes)
    enclosed: dict[str, tuple[Box, Mask]] = {}

    def prune(n: int) -> None:
        organ, margin = maps.organs[n], maps.margins[n]
        change, found = changes[organ], positive_box(margin)
        boxes[organ] = found
        if found is None or BY_NAME[organ].is_lesion:
            return
        box = grown(found, 1, image.shape)
        inside = margin[box]
        numbers, sizes = components(positive(inside))
        change.walled_ml = _without_walled(numbers, sizes, box, image, grid) * ml
        belonging = _belonging(numbers, sizes, box, image.shape)
        loose = (numbers > 0) & ~belonging[numbers]
        inside[loose] = -inside[loose]
        change.pieces += int(np.count_nonzero(~belonging[1:]))
        change.dropped_ml += float(loose.sum()) * ml
        boxes[organ] = left = positive_box(margin, box)
        if left is not None:
            around = grown(left, 1, image.shape)
            enclosed[organ] = around, holes(positive(margin[around]))

    on_all_cores(prune, len(maps.organs))
    for organ in maps.organs:
        if organ in enclosed:
            changes[organ].filled_ml += _fill(maps, organ, *enclosed[organ]) * ml
    return replace(maps, boxes=boxes), changes


def _fill(maps: OrganMaps, organ: str, box: Box, hollow: Mask) -> float:
    """Gives an organ the voxels of its holes that no other organ has; how many they are."""
    margin = maps.margin(organ)
    filled = hollow & ~positive(maps.margins[:, *box]).any(axis=0)
    ahead = np.maximum(np.abs(margin[box][filled]), np.float16(1e-3))
    for other in maps.margins:  # trails by as much, so that between voxels, too, only one is above 0
        other[box][filled] = np.minimum(other[box][filled], -ahead)
    margin[box][filled] = ahead
    return float(filled.sum())


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
    """The fraction of directions from a piece's middle, of those that show bone, fat or gas, in which bone comes first.

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


def split_channels(maps: OrganMaps, organs: Sequence[str], middle: float) -> OrganMaps:
    """The maps of `organs`; a channel that shows both sides is split: each piece goes to the side of its centre.

    middle: index along I of the body's middle.
    """
    if maps.organs == tuple(organs):
        return maps
    margins: dict[str, Margins] = {}
    for margin, channel in zip(maps.margins, maps.organs, strict=True):
        sides = members(channel)
        margins |= dict(zip(sides, [margin] if len(sides) == 1 else split_sides(margin, middle), strict=True))
    return OrganMaps(np.stack([margins[organ] for organ in organs]), tuple(organs), maps.grid)


def split_sides(margin: Margins, middle: float) -> list[Margins]:
    """The right and the left of a margin (I, J, K) that shows both: each piece goes to the side of its centre."""
    numbers, centres = _centres(margin)
    sides = []
    for there in (centres > middle, centres <= middle):
        there[0] = True
        elsewhere = ~there[numbers]
        side = margin.copy()
        side[elsewhere] = -side[elsewhere]
        sides.append(side)
    return sides


def body_middle(body: Mask) -> float | None:
    """The index along I that halves the body (I, J, K); None when the body is cut on either side, or is not there."""
    columns = body.sum(axis=(1, 2), dtype=np.int64)
    height = columns.max()
    if height == 0 or max(columns[0], columns[-1]) > 0.25 * height:
        return None
    return float((np.arange(len(columns)) * columns).sum() / columns.sum())


def _sort_sides(maps: OrganMaps, middle: float, changes: dict[str, Changes]) -> None:
    """Gives each piece of a kidney that lies clearly on the other kidney's side to that kidney."""
    right, left = maps.margin("kidney_right"), maps.margin("kidney_left")
    strays = [
        (right, left, "kidney_left", *_beyond(right, -1, maps.grid, middle)),
        (left, right, "kidney_right", *_beyond(left, 1, maps.grid, middle)),
    ]
    for own, other, name, box, stray in strays:
        other[box][stray], own[box][stray] = own[box][stray], -own[box][stray]
        changes[name].moved_ml += float(stray.sum()) * maps.grid.voxel_ml


def _beyond(margin: Margins, sign: int, grid: Geometry, middle: float) -> tuple[Box, Mask]:
    """The margin's box, and in it the pieces whose centre lies clearly beyond the middle, to the patient's right (1) or
    left (-1)."""
    box = positive_box(margin) or (slice(0, 0),) * 3
    numbers, centres = _centres(margin[box])
    stray = sign * (centres + box[0].start - middle) * grid.spacing_mm[0] > CLEARLY_MM
    stray[0] = False
    return box, np.asarray(stray[numbers])


def _centres(margin: Margins) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float64]]:
    """The numbers of a margin's pieces (I, J, K), and the index along I of each piece's centre, [0] meaning nothing."""
    numbers, sizes = components(positive(margin))
    along = np.zeros(len(sizes))
    for i, plane in enumerate(numbers):
        along += i * np.bincount(plane.ravel(), minlength=len(sizes))
    return numbers, along / np.maximum(sizes, 1)
