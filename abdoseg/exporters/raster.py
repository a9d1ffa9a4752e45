"""Surfaces as a shaded picture: a small z-buffer in numpy, the same pixels everywhere, no display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from abdoseg.exporters.surface import Surface, normals
from abdoseg.preview.captions import GROUND
from abdoseg.preview.slices import RGB, Colour

OVERSAMPLING = 2
ELEVATION_DEGREES = 14.0
KEY_LIGHT = np.array([-0.45, 0.55, 0.70]) / np.linalg.norm([-0.45, 0.55, 0.70])  # from the upper left, in front
SEEN_THROUGH = 0.45  # how much of an organ's colour is left over a lesion inside it


@dataclass(frozen=True, eq=False)
class Solid:
    """A surface to draw. inner: a lesion, seen through the organ around it."""

    points: npt.NDArray[np.float64]  # (N, 3) RAS mm, about the scene's centre
    triangles: npt.NDArray[np.int32]
    normals: npt.NDArray[np.float32]
    colour: Colour
    inner: bool = False


@dataclass(frozen=True, eq=False)
class Scene:
    """Solids about a common centre. radius_mm, half_height_mm: what any turn about the long axis stays within."""

    solids: tuple[Solid, ...]
    radius_mm: float
    half_height_mm: float


def scene(surfaces: Sequence[tuple[Surface, Colour, bool]]) -> Scene:
    """The scene of surfaces with their colours; True for those seen through the others."""
    if not surfaces:
        return Scene((), 1.0, 1.0)
    everything = np.concatenate([surface.vertices for surface, _, _ in surfaces]).astype(np.float64)
    centre = (everything.min(axis=0) + everything.max(axis=0)) / 2
    across = np.linalg.norm((everything - centre)[:, :2], axis=1).max()
    solids = tuple(
        Solid(surface.vertices - centre, surface.triangles, normals(surface.vertices, surface.triangles), colour, inner)
        for surface, colour, inner in surfaces
    )
    return Scene(solids, float(across), float(np.abs(everything - centre)[:, 2].max()))


def view_matrix(turn_degrees: float) -> npt.NDArray[np.float64]:
    """(3, 3) RAS mm to screen: to the right, up, towards the eye. At 0 the eye is in front, and turns to the left."""
    turn, rise = np.radians(turn_degrees), np.radians(ELEVATION_DEGREES)
    right = np.array([-np.cos(turn), -np.sin(turn), 0.0])  # the patient's left at 0
    ahead = np.array([-np.sin(turn), np.cos(turn), 0.0])  # towards the eye, level: anterior at 0
    up = np.array([0.0, 0.0, 1.0])
    return np.stack([right, np.cos(rise) * up - np.sin(rise) * ahead, np.sin(rise) * up + np.cos(rise) * ahead])


def render(what: Scene, turn_degrees: float, size_px: tuple[int, int]) -> RGB:
    """(height, width, 3) the scene seen from `turn_degrees` about the long axis."""
    height, width = (side * OVERSAMPLING for side in size_px)
    tall = what.half_height_mm * np.cos(np.radians(ELEVATION_DEGREES)) + what.radius_mm * np.sin(
        np.radians(ELEVATION_DEGREES)
    )
    scale = 0.47 * min(width / what.radius_mm, height / tall)
    matrix = view_matrix(turn_degrees)
    outer = _layer([solid for solid in what.solids if not solid.inner], matrix, scale, (height, width))
    inner = _layer([solid for solid in what.solids if solid.inner], matrix, scale, (height, width))
    picture, covered = outer
    lesions, found = inner
    share = np.where(covered, SEEN_THROUGH, 0.0)[found][:, None]
    picture[found] = share * picture[found] + (1 - share) * lesions[found]
    parts = [picture[i::OVERSAMPLING, j::OVERSAMPLING] for i in range(OVERSAMPLING) for j in range(OVERSAMPLING)]
    return np.asarray(np.rint(sum(parts) / np.float32(len(parts))), dtype=np.uint8)


def _layer(
    solids: Sequence[Solid], matrix: npt.NDArray[np.float64], scale: float, size_px: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The shaded picture (height, width, 3) of solids that hide each other, and where there is any."""
    height, width = size_px
    picture = np.full((height * width, 3), GROUND, dtype=np.float32)
    if not solids:
        return picture.reshape(height, width, 3), np.zeros(size_px, dtype=bool)
    points = np.concatenate([solid.points @ matrix.T * scale for solid in solids]).astype(np.float32)
    points *= np.array([1, -1, 1], dtype=np.float32)  # rows run down
    points += np.array([width / 2, height / 2, 0], dtype=np.float32)
    starts = np.cumsum([0, *(len(solid.points) for solid in solids)])
    triangles = np.concatenate([solid.triangles + start for solid, start in zip(solids, starts, strict=False)])
    colours = np.concatenate([_shade(solid.normals @ matrix.T.astype(np.float32), solid.colour) for solid in solids])
    spans = _spans(points, triangles, size_px)
    pixels, depth, winner = _nearest(spans, size_px)
    a, b, c = triangles[spans.triangle[winner]].T
    second, third = spans.weights(winner, pixels % width)
    shown = colours[a] + second * (colours[b] - colours[a]) + third * (colours[c] - colours[a])
    relief = np.full(height * width, points[:, 2].min(), dtype=np.float32)
    relief[pixels] = depth
    picture[pixels] = shown * _creases(relief.reshape(size_px), scale).ravel()[pixels][:, None]
    covered = np.zeros(height * width, dtype=bool)
    covered[pixels] = True
    return picture.reshape(height, width, 3), covered.reshape(size_px)


@dataclass(frozen=True, eq=False)
class _Spans:
    """Runs of pixels inside triangles that face the eye: `row`, first column `left`, `length`, and the `triangle`.

    Over a triangle depth and weights change evenly: `start` (n, 3) is the depth and the second and third corners'
    weights at column 0 of the run's row, `step` (n, 3) what one column adds.
    """

    row: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    triangle: npt.NDArray[np.int64]
    start: npt.NDArray[np.float32]
    step: npt.NDArray[np.float32]

    def weights(
        self, which: npt.NDArray[np.int64], column: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """(n, 1) each: the second and the third corner's weight at a column of a run."""
        values = self.start[which, 1:] + self.step[which, 1:] * column[:, None].astype(np.float32)
        return values[:, :1], values[:, 1:]


def _spans(points: npt.NDArray[np.float32], triangles: npt.NDArray[np.int32], size_px: tuple[int, int]) -> _Spans:
    height, width = size_px
    corners = points[triangles].astype(np.float64)  # (T, 3, 3)
    origin, u, v = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = u[:, 0] * v[:, 1] - v[:, 0] * u[:, 1]
    front = area < -1e-9  # anticlockwise from outside, in rows that run down
    which, origin, u, v, area = np.flatnonzero(front), origin[front], u[front], v[front], area[front]
    across = np.stack([v[:, 1], -u[:, 1]], axis=1) / area[:, None]  # what a column adds to the two weights
    down = np.stack([-v[:, 0], u[:, 0]], axis=1) / area[:, None]  # and what a row adds
    base = 0.5 * across + 0.5 * down - origin[:, :1] * across - origin[:, 1:2] * down  # at the centre of pixel 0, 0
    y0, y1, y2 = corners[front, :, 1].T
    top = np.clip(np.ceil(np.minimum(np.minimum(y0, y1), y2) - 0.5), 0, height).astype(np.int64)
    bottom = np.clip(np.floor(np.maximum(np.maximum(y0, y1), y2) - 0.5) + 1, 0, height).astype(np.int64)
    rows = np.maximum(bottom - top, 0)
    run = np.repeat(np.arange(len(which)), rows)
    row = top[run] + np.arange(len(run)) - np.repeat(np.cumsum(rows) - rows, rows)
    start, step = base[run] + down[run] * row[:, None], across[run]
    left, right = np.zeros(len(run)), np.full(len(run), width, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        for value, gain in ((start[:, 0], step[:, 0]), (start[:, 1], step[:, 1]), (1 - start.sum(1), -step.sum(1))):
            crossing = -value / gain  # no weight is below 0 inside
            left = np.where(gain > 0, np.maximum(left, np.ceil(crossing)), left)
            right = np.where(gain < 0, np.minimum(right, np.floor(crossing) + 1), right)
            right[(gain == 0) & (value < 0)] = 0
    first = np.clip(left, 0, width).astype(np.int64)
    length = np.clip(right, 0, width).astype(np.int64) - first
    kept = length > 0
    of, value, gain = run[kept], start[kept], step[kept]
    deep = origin[of, 2] + value[:, 0] * u[of, 2] + value[:, 1] * v[of, 2]
    deeper = gain[:, 0] * u[of, 2] + gain[:, 1] * v[of, 2]
    return _Spans(
        row[kept],
        first[kept],
        length[kept],
        which[of],
        np.column_stack([deep, value]).astype(np.float32),
        np.column_stack([deeper, gain]).astype(np.float32),
    )


def _nearest(
    spans: _Spans, size_px: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The covered pixels (flat), the depth of what is nearest there, and its run."""
    run = np.repeat(np.arange(len(spans.row)), spans.length)
    column = np.arange(len(run)) + np.repeat(spans.left - np.cumsum(spans.length) + spans.length, spans.length)
    pixel = spans.row[run] * size_px[1] + column
    depth = spans.start[run, 0] + spans.step[run, 0] * column.astype(np.float32)
    lowest = float(depth.min()) if len(depth) else 0.0
    front = np.full(size_px[0] * size_px[1], -1)
    np.maximum.at(front, pixel, ((depth - lowest) * 64).astype(np.int64) << 32 | run)
    covered = np.flatnonzero(front >= 0)
    return covered, ((front[covered] >> 32) / 64 + lowest).astype(np.float32), front[covered] & 0xFFFFFFFF


def _shade(facing: npt.NDArray[np.float32], colour: Colour) -> npt.NDArray[np.float32]:
    """(n, 3) a soft key light, a little from the eye, a small highlight. Source: Blinn 1977."""
    key = np.clip(facing @ KEY_LIGHT, 0, 1)[:, None]
    eye = np.clip(facing[:, 2], 0, 1)[:, None]
    half = KEY_LIGHT + np.array([0, 0, 1.0])
    gloss = np.clip(facing @ (half / np.linalg.norm(half)), 0, 1)[:, None] ** 40
    lit = np.array(colour, dtype=np.float32) * (0.22 + 0.52 * key + 0.34 * eye) + 38 * gloss
    return np.asarray(np.clip(lit, 0, 255), dtype=np.float32)


def _creases(relief: npt.NDArray[np.float32], scale: float) -> npt.NDArray[np.float32]:
    """Darker where something near stands in front. Source: Luft, Colditz, Deussen 2006, unsharp masking the depth."""
    reach_px = max(2, round(6 * scale))  # 6 mm
    behind = ndimage.uniform_filter(relief, 2 * reach_px + 1) - relief
    return np.asarray(1 - 0.45 * np.clip(behind / (30 * scale), 0, 1), dtype=np.float32)
