"""Contact sheet: slices through a scan in three planes with its organs, on one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from abdoseg.errors import GeometryError
from abdoseg.image.volume import Labelmap, Volume
from abdoseg.image.volumetry import OrganVolume, boxes, measure
from abdoseg.rendering.captions import DIM, GROUND, annotate, captioned_size, font, legend, window_text
from abdoseg.rendering.slices import (
    ACROSS,
    Plane,
    SliceStyle,
    draw_outline,
    draw_slice,
    fit_view,
    organ_box,
    whole_grid,
)

TILE_PX = (330, 400)
ROWS: tuple[tuple[Plane, ...], ...] = (("axial",) * 4, ("coronal", "coronal", "sagittal", "sagittal"))
MARGIN_MM = 40.0
TRUTH_COLOUR = (255, 255, 255)
_GAP = 6


def preview(
    volume: Volume | None,
    labelmap: Labelmap,
    truth: Labelmap | None = None,
    style: SliceStyle | None = None,
    rows: Sequence[OrganVolume] | None = None,
) -> Image.Image:
    """Draws four axial, two coronal and two sagittal slices through the organs, outlined, with a legend.

    Slices are spread so that every organ is met.

    Args:
        volume: the scan under the organs; None for a dark ground.
        labelmap: the organs.
        truth: ground truth on the same grid, outlined in white over them.
        style: window and overlay.
        rows: the organs' volumes for the legend; measured here if not given.

    Returns:
        An RGB picture.

    Raises:
        GeometryError: when the grids differ.
    """
    style = style or SliceStyle()
    for other in (volume, truth):
        if other is not None and other.geometry.shape != labelmap.geometry.shape:
            raise GeometryError(f"{other.geometry.shape} and {labelmap.geometry.shape} are not one grid")
    rows = measure(labelmap) if rows is None else rows
    organ_profiles = profiles(labelmap)
    box = (*whole_grid(labelmap.geometry)[:2], organ_box(labelmap, MARGIN_MM)[2])
    views = {plane: fit_view(labelmap.geometry, plane, TILE_PX, box) for plane in ACROSS}
    heights = [max(captioned_size(views[plane])[0] for plane in planes) for planes in ROWS]
    width = len(ROWS[0]) * (TILE_PX[1] + _GAP) + _GAP
    per_line = (width - 150) // 190
    foot = 42 * -(-len(rows) // per_line) + 22
    sheet = Image.new("RGB", (width, sum(heights) + _GAP * (len(heights) + 1) + foot), GROUND)
    top = _GAP
    for planes, row_height in zip(ROWS, heights, strict=True):
        for right, plane in enumerate(planes):
            view = views[plane]
            index = spread(organ_profiles[ACROSS[plane]], planes.count(plane))[planes[:right].count(plane)]
            picture = draw_slice(view, index, _voxels(volume), labelmap.labels, labelmap.organs, style)
            if truth is not None:
                picture = draw_outline(view, index, truth.labels, picture, TRUTH_COLOUR)
            height, breadth = view.size_px
            at = (_GAP + right * (TILE_PX[1] + _GAP) + (TILE_PX[1] - breadth) // 2, top + (row_height - height) // 2)
            sheet.paste(Image.fromarray(picture), at)
            annotate(sheet, view, index, at)
        top += row_height + _GAP
    legend(sheet, rows, (_GAP + 10, sheet.height - foot + 12), per_line)
    words = window_text(style) + ("   white: truth" if truth is not None else "")
    draw = ImageDraw.Draw(sheet)
    draw.text((width - 16, sheet.height - 14), words if volume else "no scan", DIM, font(13), anchor="rb")
    return sheet


def profiles(labelmap: Labelmap) -> list[npt.NDArray[np.float64]]:
    """For each axis, how much of the organs lies at each index; every organ counts the same. Zeros when none is."""
    found = [np.zeros(n) for n in labelmap.labels.shape]
    for label, box in boxes(labelmap.labels).items():
        if label not in labelmap.organs:
            continue
        mask = labelmap.labels[box] == label
        for axis, profile in enumerate(found):
            counts = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
            profile[box[axis]] += counts / mask.sum()
    return found


def spread(profile: npt.NDArray[np.float64], count: int) -> list[int]:
    """`count` indices from the highest down, at equal quantiles of `profile`, or of the axis when it is all zero."""
    if not profile.any():
        profile = np.ones_like(profile)
    passed = np.cumsum(profile) / profile.sum()
    wanted = (np.arange(count)[::-1] + 0.5) / count
    return [int(min(np.searchsorted(passed, level), len(profile) - 1)) for level in wanted]


def _voxels(volume: Volume | None) -> npt.NDArray[np.generic] | None:
    return None if volume is None else volume.voxels
