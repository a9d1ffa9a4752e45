"""Scrollable slices in an HTML page: scan and labels packed as pictures, which slices.js cuts in three planes.

The scan travels as one grey JPEG of all axial slices side by side, its HU on a scale that is fine in soft tissue, so
that every window can be chosen in the page; labels travel as a PNG, which keeps them exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from abdoseg.anatomy.organs import title_of
from abdoseg.image.lesions import Lesion, slice_number
from abdoseg.image.volume import Array, Geometry, Labelmap, Volume
from abdoseg.image.volumetry import OrganVolume, boxes
from abdoseg.rendering.html import data_uri, hex_colour, jpeg, png_data_uri
from abdoseg.rendering.slices import ACROSS, WINDOWS, SliceStyle, View, colour_of, organ_box, whole_grid

# HU and the grey levels that they are kept as: 2.5 HU a level in soft tissue, 34 in lung, 32 in bone.
SCALE_HU, SCALE_LEVELS = (-1024, -200, 300, 1300), (0, 24, 224, 255)
BODY_HU = -300
MARGIN_MM = 40.0  # of slices above and below the organs
FINEST_MM, THINNEST_MM = 0.8, 1.0  # in plane, and from slice to slice
WIDEST_PX, MOST_PIXELS = 16_000, 16_000_000  # what browsers on phones decode
MOST_BYTES = 2_000_000  # of the JPEG; a third more as base64

Levels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Grid:
    """The grid in the page: a box of the scan's, every `stride`-th slice, (columns, rows) in plane."""

    box: tuple[tuple[int, int], ...]
    stride: int
    size_px: tuple[int, int]

    @property
    def slices(self) -> range:
        """Their indices along K."""
        return range(*self.box[2], self.stride)

    def cut(self, array: Array, k: int) -> Array:
        """(rows, columns) of one axial slice as it hangs: the patient's right on the left, anterior on top."""
        (left, right), (back, front), _ = self.box
        return array[left:right, back:front, k][::-1, ::-1].T


def pack_slices(
    labelmap: Labelmap,
    scan: Volume | None,
    truth: Labelmap | None,
    rows: Sequence[OrganVolume],
    style: SliceStyle,
    lesions: Sequence[Lesion] = (),
) -> dict[str, Any]:
    """What slices.js shows, as JSON has it: the pictures, their grid in mm, organs, windows.

    Args:
        labelmap: organs to outline.
        scan: on its grid; None for a dark ground.
        truth: ground truth on its grid, outlined in white.
        rows: of the organs that can be switched on and off.
        style: the window that is shown first.
        lesions: numbered beside their contours.
    """
    geometry = labelmap.geometry
    spacing_mm = float(max(FINEST_MM, *geometry.spacing_mm[:2]))
    while True:
        grid = _grid(labelmap, scan, spacing_mm)
        packed = b"" if scan is None else jpeg(_mosaic((_levels(grid, scan.voxels, k) for k in grid.slices), grid))
        excess = max(len(packed) / MOST_BYTES, len(grid.slices) * np.prod(grid.size_px) / MOST_PIXELS)
        if excess <= 1:
            break
        spacing_mm *= max(1.05, excess**0.5)
    columns, rows_px = grid.size_px
    (left, right), (back, front), (bottom, _) = grid.box
    size = columns, rows_px, len(grid.slices)
    extent_mm = np.array([right - left, front - back, size[2] * grid.stride]) * geometry.spacing_mm
    steps = [(right - left) / columns, (front - back) / rows_px, grid.stride]
    starts = [right - 1 - (steps[0] - 1) / 2, front - 1 - (steps[1] - 1) / 2, bottom]
    return {
        "size": size,
        "mm": [float(whole / count) for whole, count in zip(extent_mm, size, strict=True)],
        "tiles": _tiles(grid),
        "scan": data_uri(packed, "image/jpeg") if packed else None,
        "hu": np.interp(np.arange(256), SCALE_LEVELS, SCALE_HU).round(1).tolist(),
        "labels": _labels_uri(grid, labelmap),
        "truth": None if truth is None else _labels_uri(grid, truth),
        "organs": [
            {
                "label": row.label,
                "organ": row.organ,
                "title": title_of(row.organ),
                "colour": hex_colour(colour_of(row.organ, row.label)),
            }
            for row in rows
        ],
        "windows": _windows(style),
        "places": _places_mm(geometry, starts, [-steps[0], -steps[1], steps[2]]),
        "numbers": _slice_numbers(labelmap, grid),
        "start": _start(labelmap, grid),
        "lesion": "liver_tumour",
        "lesions": [_lesion(one, labelmap, grid) for one in lesions],
    }


def _grid(labelmap: Labelmap, scan: Volume | None, spacing_mm: float) -> _Grid:
    """The body in plane, and along it the organs with a margin; the whole scan where there is none."""
    geometry = labelmap.geometry
    box = [*whole_grid(geometry)[:2], organ_box(labelmap, MARGIN_MM)[2]]
    if scan is not None:
        body = scan.voxels[::2, ::2, slice(*box[2], 4)] > BODY_HU
        for axis in (0, 1):
            there = np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis)))
            if len(there):
                box[axis] = max(0, 2 * int(there[0]) - 4), min(geometry.shape[axis], 2 * int(there[-1]) + 6)
    columns, rows = (
        max(1, round((stop - start) * step / spacing_mm))
        for (start, stop), step in zip(box[:2], geometry.spacing_mm[:2], strict=True)
    )
    return _Grid(tuple(box), max(1, int(THINNEST_MM / geometry.spacing_mm[2] + 1e-6)), (columns, rows))


def _levels(grid: _Grid, voxels: Array, k: int) -> Levels:
    """One slice's HU as grey levels, on the page's grid."""
    hu = np.clip(np.ascontiguousarray(grid.cut(voxels, k)), SCALE_HU[0], SCALE_HU[-1])
    levels = np.rint(np.interp(hu, SCALE_HU, SCALE_LEVELS)).astype(np.uint8)
    return np.asarray(Image.fromarray(levels).resize(grid.size_px, Image.Resampling.BOX))


def _labels_uri(grid: _Grid, labelmap: Labelmap) -> str:
    """The labels as a PNG of all slices."""
    named = labelmap.named

    def nearest(k: int) -> Levels:
        plane = named[np.ascontiguousarray(grid.cut(labelmap.labels, k))]
        return np.asarray(Image.fromarray(plane).resize(grid.size_px, Image.Resampling.NEAREST))

    return png_data_uri(_mosaic((nearest(k) for k in grid.slices), grid))


def _tiles(grid: _Grid) -> int:
    """Slices in a row of the picture of all: it is about as wide as tall, and never wider than browsers decode."""
    columns, rows = grid.size_px
    square = round(math.sqrt(len(grid.slices) * rows / columns))
    return max(1, min(len(grid.slices), square, WIDEST_PX // columns))


def _mosaic(slices: Iterable[Levels], grid: _Grid) -> Levels:
    """All slices as one picture, row by row, the most inferior first."""
    columns, rows = grid.size_px
    across = _tiles(grid)
    picture = np.zeros((-(-len(grid.slices) // across) * rows, across * columns), np.uint8)
    for number, one in enumerate(slices):
        top, left = number // across * rows, number % across * columns
        picture[top : top + rows, left : left + columns] = one
    return picture


def _windows(style: SliceStyle) -> Mapping[str, tuple[float, float]]:
    """The window chosen first, then the presets."""
    chosen = next((name for name, window in WINDOWS.items() if window == style.window_hu), "as chosen")
    return {chosen: style.window_hu} | {name: window for name, window in WINDOWS.items() if name != chosen}


def _places_mm(geometry: Geometry, starts: Sequence[float], steps: Sequence[float]) -> list[list[float]]:
    """For sagittal, coronal and axial slices: the first one's place in mm to R, A and S, and the step to the next."""
    found = []
    for plane, start, step in zip(ACROSS, starts, steps, strict=True):
        view = View(geometry, plane, 1.0, whole_grid(geometry))
        first, second = view.position_mm(start), view.position_mm(start + step)
        found.append([round(first, 3), round(second - first, 5)])
    return found


def _slice_numbers(labelmap: Labelmap, grid: _Grid) -> list[int]:
    """The first axial slice's number in the file, from 1, and the step to the next."""
    first = slice_number(labelmap, grid.slices[0])
    upwards = slice_number(labelmap, 1) > slice_number(labelmap, 0)
    return [first, grid.stride if upwards else -grid.stride]


def _start(labelmap: Labelmap, grid: _Grid) -> list[int]:
    """Column, row and slice that are shown first: through the middle of the largest organ."""
    found = [part for label, part in boxes(labelmap.labels).items() if label in labelmap.organs]
    largest = max(found, key=lambda part: np.prod([side.stop - side.start for side in part]), default=None)
    if largest is None:
        return _in_page(grid, [(start + stop - 1) / 2 for start, stop in grid.box])
    return _in_page(grid, [(side.start + side.stop - 1) / 2 for side in largest])


def _lesion(lesion: Lesion, labelmap: Labelmap, grid: _Grid) -> dict[str, Any]:
    """Its number, the voxel of the page at its centre on the slice of its diameters, and the box around it."""
    centre = (np.linalg.inv(labelmap.geometry.affine) @ [*lesion.centre_mm, 1.0])[:3]
    centre[2] = abs(lesion.slice_number - slice_number(labelmap, 0))
    ends = [side.start for side in lesion.box], [side.stop - 1 for side in lesion.box]
    box = [sorted(pair) for pair in zip(*(_in_page(grid, end) for end in ends), strict=True)]
    return {"number": lesion.number, "place": _in_page(grid, centre.tolist()), "box": box}


def _in_page(grid: _Grid, place: Sequence[float]) -> list[int]:
    """Column, row and slice in the page of a voxel of the scan's grid."""
    (left, right), (back, front), (bottom, _) = grid.box
    columns, rows = grid.size_px
    shown = [
        (right - 0.5 - place[0]) / (right - left) * columns,
        (front - 0.5 - place[1]) / (front - back) * rows,
        (place[2] - bottom) / grid.stride,
    ]
    limits = columns, rows, len(grid.slices)
    return [int(np.clip(value, 0, limit - 1)) for value, limit in zip(shown, limits, strict=True)]
