"""Post-processing of organ maps by anatomy: the likeliest piece, holes, sides of kidneys, no fluid, no brain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME, host_of
from abdoseg.image.components import Box, Mask, components, grown, holes, positive, positive_box
from abdoseg.image.organ_maps import Margins, OrganMaps
from abdoseg.image.volume import Geometry
from abdoseg.inference.fluid import hanging_fluid
from abdoseg.inference.pieces import Pieces, likeliest
from abdoseg.inference.skull import is_brain
from abdoseg.model.plan import members
from abdoseg.runtime.threads import on_all_cores

STRAY_MM = 15.0  # a piece of kidney whose centre is further beyond the body's middle is the other kidney's
WORTH_ML = 1.0  # a change smaller than this is counted, but not talked about
SOLID = ("liver", "spleen")  # organs from which fluid is cut off; a kidney holds urine of its own


@dataclass
class Changes:
    """What was changed of one organ, in millilitres.

    kept_ml: what is left when all is dropped. pieces: how many were dropped. dropped_ml: all that was dropped.
    largest_ml: the largest dropped piece. brain_ml, fluid_ml: what of it was dropped because a skull encloses it, and
    because it is fluid that lies on the organ. filled_ml: holes. moved_ml: taken from the other side's organ.
    outside_ml: of a lesion, what was dropped because it lay outside its organ.
    """

    pieces: int = 0
    dropped_ml: float = 0.0
    largest_ml: float = 0.0
    brain_ml: float = 0.0
    fluid_ml: float = 0.0
    filled_ml: float = 0.0
    moved_ml: float = 0.0
    outside_ml: float = 0.0
    kept_ml: float = 0.0

    @property
    def total_ml(self) -> float:
        """All that was dropped, filled or moved."""
        return self.dropped_ml + self.filled_ml + self.moved_ml + self.outside_ml

    def sentences(self, organ: str) -> list[str]:
        """The changes that are worth a note, each with its millilitres and its part of what is kept."""
        found = (
            (self.dropped_ml - self.brain_ml - self.fluid_ml, "lay apart and were dropped"),
            (self.brain_ml, "lay in bone on all sides, as a brain does, and were dropped"),
            (self.fluid_ml, "of fluid lay on it and were dropped"),
            (self.filled_ml, "of holes were filled"),
            (self.moved_ml, "lay on this side under the other side's name and were given to it"),
            (self.outside_ml, f"lay outside the {host_of(organ)} and were dropped"),
        )
        part = [f" ({ml / self.kept_ml:.0%} of it)" if self.kept_ml else "" for ml, _ in found]
        return [
            f"{organ}: {ml:.1f} ml{of} {what}" for (ml, what), of in zip(found, part, strict=True) if ml >= WORTH_ML
        ]


def postprocess(
    maps: OrganMaps, image: npt.NDArray[np.float32], middle: float | None
) -> tuple[OrganMaps, dict[str, Changes]]:
    """The maps with one piece an organ, without holes, and each kidney on its side; and what was changed, by organ.

    Of several pieces the likeliest is kept, by its probability, HU, volume and position; fluid that lies on liver or
    spleen is cut off. The margins are changed where they lie, by their sign, so that borders stay where they were.

    Args:
        maps: the network's.
        image: (I, J, K) HU on the maps' grid.
        middle: index along I of the body's middle; None when it is not known, and then sides are not checked.
    """
    grid, ml = maps.grid, maps.grid.voxel_ml
    changes = {organ: Changes() for organ in maps.organs}
    if middle is not None and {"kidney_right", "kidney_left"} <= set(maps.organs):
        _sort_sides(maps, middle, changes)
    boxes: dict[str, Box | None] = {}
    found: dict[str, Pieces] = {}
    hollows: dict[str, tuple[Box, Mask]] = {}

    def find_pieces(n: int) -> None:
        organ, margin = maps.organs[n], maps.margins[n]
        boxes[organ] = box = positive_box(margin)
        if box is not None and not BY_NAME[organ].is_lesion:
            found[organ], brain_voxels = _without_brains(Pieces.of(margin, grown(box, 1, image.shape)), image, grid)
            changes[organ].brain_ml = brain_voxels * ml

    def keep_chosen(n: int) -> None:
        organ, margin = maps.organs[n], maps.margins[n]
        if organ not in found:
            return
        _drop_others(margin, found[organ], chosen[organ], changes[organ], ml)
        if organ in SOLID:
            _drop_fluid(margin, found[organ].box, image, changes[organ], ml)
        boxes[organ] = left = positive_box(margin, found[organ].box)
        if left is not None:
            around = grown(left, 1, image.shape)
            hollows[organ] = around, holes(positive(margin[around]))

    on_all_cores(find_pieces, len(maps.organs))
    chosen = likeliest({organ: found[organ] for organ in maps.organs if organ in found}, maps, image)
    on_all_cores(keep_chosen, len(maps.organs))
    for organ in maps.organs:
        if organ in hollows:
            changes[organ].filled_ml += _fill(maps, organ, *hollows[organ]) * ml
    return replace(maps, boxes=boxes), changes


def _drop_others(margin: Margins, pieces: Pieces, chosen: int, change: Changes, voxel_ml: float) -> None:
    """Negates the margin of all pieces but the chosen one and those that belong to it."""
    inside = margin[pieces.box]
    belonging = pieces.belonging(chosen, margin.shape)
    loose = (pieces.numbers > 0) & ~belonging[pieces.numbers]
    inside[loose] = -inside[loose]
    change.pieces += int(np.count_nonzero(~belonging[1:]))
    change.dropped_ml += float(loose.sum()) * voxel_ml
    change.largest_ml = float(pieces.sizes[~belonging].max()) * voxel_ml
    change.kept_ml = float(pieces.sizes[belonging].sum()) * voxel_ml


def _drop_fluid(margin: Margins, box: Box, image: npt.NDArray[np.float32], change: Changes, voxel_ml: float) -> None:
    """Negates the margin of fluid that lies on the organ, and of pieces that come off with it."""
    inside = margin[box]
    mask = positive(inside)
    fluid = hanging_fluid(mask, image[box], voxel_ml)
    if fluid is None:
        return
    left = Pieces(box, *components(mask & ~fluid))
    lost = mask & ~left.belonging(left.largest, margin.shape)[left.numbers]
    inside[lost] = -inside[lost]
    change.fluid_ml = float(lost.sum()) * voxel_ml
    change.dropped_ml += change.fluid_ml
    change.kept_ml -= change.fluid_ml


def _fill(maps: OrganMaps, organ: str, box: Box, hollow: Mask) -> float:
    """Gives an organ the voxels of its holes that no other organ has. Returns how many."""
    margin = maps.margin(organ)
    filled = hollow & ~positive(maps.margins[:, *box]).any(axis=0)
    height = np.maximum(np.abs(margin[box][filled]), np.float16(1e-3))
    for other in maps.margins:  # as far below 0 as the organ is above: between voxels, too, only one is positive
        other[box][filled] = np.minimum(other[box][filled], -height)
    margin[box][filled] = height
    return float(filled.sum())


def _without_brains(pieces: Pieces, image: npt.NDArray[np.float32], grid: Geometry) -> tuple[Pieces, int]:
    """The pieces without brains, whose sizes become 0, and the voxels that those had.

    From the largest piece on, up to the first that lies in no skull.
    """
    sizes, start = pieces.sizes.copy(), tuple(part.start for part in pieces.box)
    for number in np.argsort(sizes)[::-1]:
        if sizes[number] * grid.voxel_ml < WORTH_ML or not is_brain(pieces.numbers == number, start, image, grid):
            break
        sizes[number] = 0
    return replace(pieces, sizes=sizes), int((pieces.sizes - sizes).sum())


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
    stray = sign * (centres + box[0].start - middle) * grid.spacing_mm[0] > STRAY_MM
    stray[0] = False
    return box, np.asarray(stray[numbers])


def _centres(margin: Margins) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float64]]:
    """(I, J, K) numbers of a margin's pieces, and (N + 1,) the index along I of each piece's centre; [0] is unused."""
    numbers, sizes = components(positive(margin))
    along = np.zeros(len(sizes))
    for i, plane in enumerate(numbers):
        along += i * np.bincount(plane.ravel(), minlength=len(sizes))
    return numbers, along / np.maximum(sizes, 1)
