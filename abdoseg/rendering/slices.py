"""Slice rendering: one slice of a scan as a picture, windowed, at true spacing, organs outlined and filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.image.components import Box, grown_mm, united
from abdoseg.image.lesions import Lesion
from abdoseg.image.volume import Array, Geometry, Labelmap, labels_in
from abdoseg.image.volumetry import boxes

Plane = Literal["axial", "coronal", "sagittal"]
Overlay = Literal["contour", "fill", "both"]
Colour = tuple[int, int, int]
RGB = npt.NDArray[np.uint8]

# Lowest and highest HU shown; in a radiologist's words W 400 L 40, W 150 L 80, W 350 L 50, W 1800 L 400.
WINDOWS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"abdomen": (-160, 240), "liver": (5, 155), "soft-tissue": (-125, 225), "bone": (-500, 1300)}
)
ACROSS: Mapping[Plane, int] = MappingProxyType({"sagittal": 0, "coronal": 1, "axial": 2})  # the axis that is cut
# Pictures as radiologists hang them: the patient's right on the left, anterior or superior on top.
EDGES: Mapping[Plane, str] = MappingProxyType({"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"})  # l, r, t, b
_OTHERS: tuple[Colour, ...] = ((120, 200, 120), (200, 120, 200), (120, 180, 230), (230, 180, 120))


@dataclass(frozen=True)
class SliceStyle:
    """Appearance of slices. window_hu: lowest and highest HU shown. overlay: how organs lie over the scan."""

    window_hu: tuple[float, float] = WINDOWS["abdomen"]
    overlay: Overlay = "both"
    fill_opacity: float = 0.28
    line_px: float = 1.8


@dataclass(frozen=True)
class View:
    """A plane through a grid, drawn `scale_px_mm` pixels a millimetre. box: the part shown, (start, stop) an axis."""

    geometry: Geometry
    plane: Plane
    scale_px_mm: float
    box: tuple[tuple[int, int], ...]

    @property
    def axes(self) -> tuple[int, int]:
        """The grid's axes that run down and across the picture."""
        across = ACROSS[self.plane]
        return (1 if across == 2 else 2, 0 if across != 0 else 1)

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width), even, as video codecs want it."""
        sides = []
        for axis in self.axes:
            start, stop = self.box[axis]
            sides.append(max(2, 2 * round((stop - start) * self.geometry.spacing_mm[axis] * self.scale_px_mm / 2)))
        return sides[0], sides[1]

    def cut(self, array: Array, index: int) -> Array:
        """(rows, columns) of the slice at `index`, as it hangs."""
        within = [slice(*span) for span in self.box]
        plane = array[tuple(index if axis == ACROSS[self.plane] else within[axis] for axis in range(3))]
        return plane[::-1, ::-1].T  # I, J and K run right, anterior and superior: all of them against the picture

    def position_mm(self, index: float) -> float:
        """Where the slice's centre lies along the axis that is cut: mm to the right, to anterior or to superior."""
        middle = (np.array(self.geometry.shape) - 1) / 2
        middle[ACROSS[self.plane]] = index
        return float((self.geometry.affine[:3, :3] @ middle + self.geometry.affine[:3, 3])[ACROSS[self.plane]])


def whole_grid(geometry: Geometry) -> tuple[tuple[int, int], ...]:
    """The box that is the whole grid."""
    return tuple((0, n) for n in geometry.shape)


def organ_box(labelmap: Labelmap, margin_mm: float) -> tuple[tuple[int, int], ...]:
    """The box around all organs, grown by a margin within the grid; the whole grid where there is none."""
    found = [box for label, box in boxes(labelmap.labels).items() if label in labelmap.organs]
    if not found:
        return whole_grid(labelmap.geometry)
    return with_margin(united(found), labelmap.geometry, margin_mm)


def with_margin(box: Box, geometry: Geometry, margin_mm: float) -> tuple[tuple[int, int], ...]:
    """A box of a grid, wider by a margin on all sides within it, as (start, stop) an axis."""
    return tuple((side.start, side.stop) for side in grown_mm(box, margin_mm, geometry.spacing_mm, geometry.shape))


def fit_view(
    geometry: Geometry, plane: Plane, size_px: tuple[int, int], box: tuple[tuple[int, int], ...] | None = None
) -> View:
    """The largest view that fits in (height, width)."""
    box = box or whole_grid(geometry)
    view = View(geometry, plane, 1.0, box)
    extent = [(box[axis][1] - box[axis][0]) * geometry.spacing_mm[axis] for axis in view.axes]
    return View(geometry, plane, min(size_px[0] / extent[0], size_px[1] / extent[1]), box)


def draw_slice(
    view: View, index: int, voxels: Array | None, labels: Array, organs: Mapping[int, str], style: SliceStyle
) -> RGB:
    """(height, width, 3) the slice with its organs. voxels: HU on the labels' grid, or None for a dark ground."""
    height, width = view.size_px
    if voxels is None:
        picture = np.full((height, width, 3), 24, dtype=np.uint8)
    else:
        grey = windowed(view.cut(voxels, index), style.window_hu)
        shown = Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC)
        picture = np.array(shown.convert("RGB"))
    plane = np.ascontiguousarray(view.cut(labels, index))
    for label in labels_in(plane):
        if label in organs:
            _draw_organ(picture, plane == label, colour_of(organs[label], label), style)
    return picture


def draw_outline(view: View, index: int, labels: Array, picture: RGB, colour: Colour, line_px: float = 1.0) -> RGB:
    """`picture` with every label's border drawn in one colour: a truth over a prediction."""
    picture = picture.copy()
    plane = np.ascontiguousarray(view.cut(labels, index))
    for label in labels_in(plane):
        _draw_organ(picture, plane == label, colour, SliceStyle(overlay="contour", line_px=line_px))
    return picture


def lesion_places(
    view: View, index: int, labels: Array, label: int, lesions: Sequence[Lesion]
) -> list[tuple[int, tuple[int, int]]]:
    """Numbers of the lesions that a slice shows, and (x, y) in pixels on the right of each. label: of all lesions."""
    across, (down, right) = ACROSS[view.plane], view.axes
    (height, width), ends = view.size_px, [view.box[axis][1] for axis in (down, right)]
    found = []
    for lesion in lesions:
        if not lesion.box[across].start <= index < lesion.box[across].stop:
            continue
        part = tuple(slice(index, index + 1) if axis == across else lesion.box[axis] for axis in range(3))
        places = np.argwhere(labels[part] == label) + [side.start for side in part]
        if len(places):
            furthest = places[places[:, right].argmin()]  # axes run against the picture
            rows, columns = (view.box[axis][1] - view.box[axis][0] for axis in (down, right))
            x = round((ends[1] - furthest[right]) * width / columns)
            found.append((lesion.number, (x, round((ends[0] - furthest[down] - 0.5) * height / rows))))
    return found


def windowed(hu: Array, window_hu: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """HU as grey levels, 0 at the window's lower end and 255 at its upper."""
    low, high = window_hu
    grey = (np.ascontiguousarray(hu).astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    return np.asarray(np.clip(grey, 0, 255), dtype=np.uint8)


def colour_of(organ: str, label: int) -> Colour:
    """The organ's colour in ORGANS, or one that is always the same for its label."""
    return BY_NAME[organ].colour if organ in BY_NAME else _OTHERS[label % len(_OTHERS)]


def _draw_organ(picture: RGB, mask: Array, colour: Colour, style: SliceStyle) -> None:
    """Draws one organ into `picture`, in its own bounding box only."""
    (height, width), (rows, columns) = picture.shape[:2], mask.shape
    down, right = height / rows, width / columns  # pixels a voxel
    box = _pixels(np.any(mask, axis=1), down, height), _pixels(np.any(mask, axis=0), right, width)
    (top, bottom), (start, stop) = box
    region = Image.fromarray(mask.astype(np.uint8) * 255).resize(
        (stop - start, bottom - top),
        Image.Resampling.BILINEAR,
        box=(start / right, top / down, min(stop / right, columns), min(bottom / down, rows)),
    )
    region = region.filter(ImageFilter.GaussianBlur((0.4 * right + 0.3, 0.4 * down + 0.3)))
    coverage = np.asarray(region, dtype=np.float32)
    coverage /= max(coverage.max(), 1.0)  # a single voxel stays visible
    alpha = np.zeros_like(coverage)
    if style.overlay != "contour":
        alpha = style.fill_opacity * np.clip(4 * coverage - 1.5, 0, 1)
    if style.overlay != "fill":
        alpha = np.maximum(alpha, 0.95 * _line(coverage, style.line_px))
    under = picture[top:bottom, start:stop].astype(np.float32)
    over = under + alpha[:, :, None] * (np.array(colour, dtype=np.float32) - under)
    picture[top:bottom, start:stop] = np.rint(over).astype(np.uint8)


def _pixels(occupied: npt.ArrayLike, scale: float, limit: int) -> tuple[int, int]:
    """The range of pixels over the occupied voxels, with two voxels' margin."""
    found = np.flatnonzero(occupied)
    return max(0, int((found[0] - 2) * scale) - 2), min(limit, int((found[-1] + 3) * scale) + 3)


def _line(coverage: npt.NDArray[np.float32], width_px: float) -> npt.NDArray[np.float32]:
    """Opacity of an antialiased line along coverage = 1/2: its distance in pixels is |coverage - 1/2| / |gradient|."""
    if min(coverage.shape) < 2:
        return np.zeros_like(coverage)
    down, right = np.gradient(coverage)
    distance = np.abs(coverage - 0.5) / np.maximum(np.hypot(down, right), 1e-6)
    return np.asarray(np.clip(width_px / 2 + 0.5 - distance, 0, 1), dtype=np.float32)
