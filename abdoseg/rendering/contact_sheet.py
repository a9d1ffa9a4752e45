"""A contact sheet: slices through a scan in three planes with its organs, on one picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from abdoseg.errors import GeometryError
from abdoseg.image.volume import Labelmap, Volume
from abdoseg.image.volumetry import boxes, measure
from abdoseg.rendering.captions import DIM, GROUND, annotate, font, legend, room, window_text
from abdoseg.rendering.slices import ACROSS, Look, Plane, fitting, outline, paint

TILE_PX = (330, 400)
ROWS: tuple[tuple[Plane, ...], ...] = (("axial",) * 4, ("coronal", "coronal", "sagittal", "sagittal"))
MARGIN_MM = 40.0
TRUTH_COLOUR = (255, 255, 255)
_GAP = 6


def preview(
    volume: Volume | None, labelmap: Labelmap, truth: Labelmap | None = None, look: Look | None = None
) -> Image.Image:
    """Four axial, two coronal and two sagittal slices through the organs, outlined, with a legend: an RGB picture.

    Slices are spread so that every organ has its share. truth: outlined in white over the prediction.
    """
    look = look or Look()
    for other in (volume, truth):
        if other is not None and other.geometry.shape != labelmap.geometry.shape:
            raise GeometryError(f"{other.geometry.shape} and {labelmap.geometry.shape} are not one grid")
    rows = measure(labelmap)
    shares = profiles(labelmap)
    box = _around(shares, labelmap)
    views = {plane: fitting(labelmap.geometry, plane, TILE_PX, box) for plane in ACROSS}
    heights = [max(room(views[plane])[0] for plane in planes) for planes in ROWS]
    width = len(ROWS[0]) * (TILE_PX[1] + _GAP) + _GAP
    per_line = (width - 150) // 190
    foot = 42 * -(-len(rows) // per_line) + 22
    sheet = Image.new("RGB", (width, sum(heights) + _GAP * (len(heights) + 1) + foot), GROUND)
    top = _GAP
    for planes, row_height in zip(ROWS, heights, strict=True):
        for right, plane in enumerate(planes):
            view = views[plane]
            index = spread(shares[ACROSS[plane]], planes.count(plane))[planes[:right].count(plane)]
            picture = paint(view, index, _voxels(volume), labelmap.labels, labelmap.organs, look)
            if truth is not None:
                picture = outline(view, index, truth.labels, picture, TRUTH_COLOUR)
            height, breadth = view.size_px
            at = (_GAP + right * (TILE_PX[1] + _GAP) + (TILE_PX[1] - breadth) // 2, top + (row_height - height) // 2)
            sheet.paste(Image.fromarray(picture), at)
            annotate(sheet, view, index, at)
        top += row_height + _GAP
    legend(sheet, rows, (_GAP + 10, sheet.height - foot + 12), per_line)
    words = window_text(look) + ("   white: truth" if truth is not None else "")
    draw = ImageDraw.Draw(sheet)
    draw.text((width - 16, sheet.height - 14), words if volume else "no scan", DIM, font(13), anchor="rb")
    return sheet


def profiles(labelmap: Labelmap) -> list[npt.NDArray[np.float64]]:
    """For each axis, how much of the organs lies at each index; every organ counts the same. Zeros when none is."""
    shares = [np.zeros(n) for n in labelmap.labels.shape]
    for label, box in boxes(labelmap.labels).items():
        if label not in labelmap.organs:
            continue
        mask = labelmap.labels[box] == label
        for axis, share in enumerate(shares):
            counts = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
            share[box[axis]] += counts / mask.sum()
    return shares


def spread(share: npt.NDArray[np.float64], count: int) -> list[int]:
    """`count` indices from the highest down, at equal steps of what `share` holds, or of the axis when it is empty."""
    if not share.any():
        share = np.ones_like(share)
    passed = np.cumsum(share) / share.sum()
    wanted = (np.arange(count)[::-1] + 0.5) / count
    return [int(min(np.searchsorted(passed, level), len(share) - 1)) for level in wanted]


def _around(shares: list[npt.NDArray[np.float64]], labelmap: Labelmap) -> tuple[tuple[int, int], ...]:
    """The whole of the body in plane, and along it the organs with a margin."""
    *across, along = shares
    box = [(0, len(share)) for share in across]
    found = np.flatnonzero(along)
    if not len(found):
        return (*box, (0, len(along)))
    margin = int(np.ceil(MARGIN_MM / labelmap.geometry.spacing_mm[2]))
    return (*box, (max(0, int(found[0]) - margin), min(len(along), int(found[-1]) + 1 + margin)))


def _voxels(volume: Volume | None) -> npt.NDArray[np.generic] | None:
    return None if volume is None else volume.voxels
