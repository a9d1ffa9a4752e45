"""Software rasterizer: shaded surfaces by a z-buffer in numpy, since the libraries that render need OpenGL.

pyrender and trimesh open a window or need EGL or OSMesa on the system, and so does VTK, which installs 600 MB; their
pixels change with the driver. These are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from abdoseg.image.mesh import Surface, normals
from abdoseg.rendering.captions import GROUND
from abdoseg.rendering.slices import RGB, Colour

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


def make_scene(surfaces: Sequence[tuple[Surface, Colour, bool]]) -> Scene:
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


def render(scene: Scene, turn_degrees: float, size_px: tuple[int, int]) -> RGB:
    """(height, width, 3) the scene seen from `turn_degrees` about the long axis. Only what it covers is drawn."""
    picture = np.full((*size_px, 3), GROUND, dtype=np.uint8)
    if not scene.solids:
        return picture
    height, width = (side * OVERSAMPLING for side in size_px)
    rise = np.radians(ELEVATION_DEGREES)
    tall = scene.half_height_mm * np.cos(rise) + scene.radius_mm * np.sin(rise)
    scale = 0.47 * min(width / scene.radius_mm, height / tall)
    matrix = view_matrix(turn_degrees)
    to_px = (matrix * np.array([[scale], [-scale], [scale]])).T.astype(np.float32)  # rows run down
    middle = np.array([width / 2, height / 2, 0], dtype=np.float32)
    places = [solid.points.astype(np.float32) @ to_px + middle for solid in scene.solids]
    left, top, right, bottom = _box(places, _reach(scale), (height, width))
    corner = np.array([left, top, 0], dtype=np.float32)
    drawn = [(solid, place - corner) for solid, place in zip(scene.solids, places, strict=True)]
    size = (bottom - top, right - left)
    shown, covered = _layer([one for one in drawn if not one[0].inner], matrix, scale, size)
    lesions, found = _layer([one for one in drawn if one[0].inner], matrix, scale, size)
    if found.any():
        opacity = np.where(covered, np.float32(SEEN_THROUGH), np.float32(0))[found][:, None]
        shown[found] = opacity * shown[found] + (1 - opacity) * lesions[found]
    parts = [shown[i::OVERSAMPLING, j::OVERSAMPLING] for i in range(OVERSAMPLING) for j in range(OVERSAMPLING)]
    box = tuple(slice(start // OVERSAMPLING, stop // OVERSAMPLING) for start, stop in ((top, bottom), (left, right)))
    picture[box] = np.rint(sum(parts) / np.float32(len(parts))).astype(np.uint8)
    return picture


def _box(places: Sequence[npt.NDArray[np.float32]], margin_px: int, size_px: tuple[int, int]) -> tuple[int, ...]:
    """Left, top, right, bottom of what the points cover, in whole pixels of the picture, within (height, width)."""
    lowest = np.min([place[:, :2].min(axis=0) for place in places], axis=0) - margin_px
    highest = np.max([place[:, :2].max(axis=0) for place in places], axis=0) + margin_px
    inside = np.array(size_px[::-1]) // OVERSAMPLING
    first = np.clip(np.floor(lowest / OVERSAMPLING), 0, inside - 1).astype(int)
    last = np.clip(np.ceil(highest / OVERSAMPLING), first + 1, inside).astype(int)
    return (*(first * OVERSAMPLING).tolist(), *(last * OVERSAMPLING).tolist())


def _layer(
    drawn: Sequence[tuple[Solid, npt.NDArray[np.float32]]],
    matrix: npt.NDArray[np.float64],
    scale: float,
    size_px: tuple[int, int],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The shaded picture (height, width, 3) of solids that hide each other, and where there is any.

    drawn: each with its points in pixels: column, row, and towards the eye.
    """
    height, width = size_px
    covered = np.zeros(height * width, dtype=bool)
    if not drawn:
        return np.zeros((0, 0, 3), dtype=np.float32), covered.reshape(size_px)
    points = np.concatenate([places for _, places in drawn])
    starts = np.cumsum([0, *(len(places) for _, places in drawn)])
    triangles = np.concatenate([solid.triangles + start for (solid, _), start in zip(drawn, starts, strict=False)])
    colours = np.concatenate([_shade(solid.normals @ matrix.T.astype(np.float32), solid.colour) for solid, _ in drawn])
    facets = _facing(points, triangles)
    pixels, depth, winner = _nearest(facets, size_px)
    relief = np.full(height * width, points[:, 2].min(), dtype=np.float32)
    relief[pixels] = depth
    row, column = (part.astype(np.float32) for part in np.divmod(pixels, width))
    shown = np.zeros((len(pixels), 3), dtype=np.float32)
    for corner, weight in zip(facets.corners, facets.weights, strict=True):
        shown += _at(weight, winner, row, column)[:, None] * colours.take(corner[winner], axis=0)
    shown *= _creases(relief.reshape(size_px), scale).ravel()[pixels][:, None]
    picture = np.empty((height * width, 3), dtype=np.float32)
    picture[:] = GROUND
    picture[pixels] = shown
    covered[pixels] = True
    return picture.reshape(height, width, 3), covered.reshape(size_px)


@dataclass(frozen=True, eq=False)
class _Facets:
    """The T triangles that face the eye; over each, its corners' weights and its depth change evenly.

    corners: (3, T) points. weights: (3, 3, T) each corner's weight at pixel (0, 0), what a row adds, what a column
    adds. depth: (3, T) the same of the depth; furthest: the least of it. edges: for each corner, the edge across from
    it: the column where it crosses row 0, what a row adds, and whether the triangle lies on its right. rows: (2, T)
    the first, and the one after the last. Pixels are at their centres.
    """

    corners: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    depth: npt.NDArray[np.float32]
    furthest: float
    edges: tuple[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]], ...]
    rows: npt.NDArray[np.int64]


def _facing(points: npt.NDArray[np.float32], triangles: npt.NDArray[np.int32]) -> _Facets:
    x, y, z = points.astype(np.float64).T[:, triangles.T]  # (3, T) each
    twice = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    front = twice < -1e-9  # anticlockwise from outside, in rows that run down
    x, y, z, twice = x[:, front] - 0.5, y[:, front] - 0.5, z[:, front], twice[front]
    weights, edges = np.empty((3, 3, len(twice))), []
    for corner, (one, other) in enumerate(((1, 2), (2, 0), (0, 1))):
        across, down = x[other] - x[one], y[other] - y[one]
        weights[corner] = (x[one] * down - y[one] * across) / twice, across / twice, -down / twice
        slope = across / np.where(down == 0, np.inf, down)  # a level edge bounds no row
        edges.append((np.where(down == 0, -np.inf, x[one] - y[one] * slope), slope, down >= 0))
    return _Facets(
        np.ascontiguousarray(triangles[front].T),
        weights.astype(np.float32),
        np.einsum("ct,cnt->nt", z, weights).astype(np.float32),
        float(z.min(initial=0)),
        tuple(edges),
        np.stack([np.ceil(y.min(axis=0)), np.floor(y.max(axis=0)) + 1]).astype(np.int64),
    )


def _nearest(
    facets: _Facets, size_px: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The covered pixels (flat), the depth of what is nearest there, and its triangle."""
    height, width = size_px
    top, bottom = np.clip(facets.rows, 0, height)
    rows = np.maximum(bottom - top, 0)
    row = np.arange(rows.sum()) + np.repeat(top - np.cumsum(rows) + rows, rows)
    left, right = np.zeros(len(row)), np.full(len(row), width - 1.0)
    for at_row_0, slope, opens in facets.edges:
        crossing, opening = np.repeat(at_row_0, rows) + np.repeat(slope, rows) * row, np.repeat(opens, rows)
        np.maximum(left, crossing, out=left, where=opening)
        np.minimum(right, crossing, out=right, where=~opening)
    first, facet = np.ceil(left).astype(np.int32), np.repeat(np.arange(len(rows), dtype=np.int32), rows)
    length = np.maximum(np.floor(right).astype(np.int32) + 1 - first, 0)
    start = _at(facets.depth, facet, row.astype(np.float32), first.astype(np.float32))
    along = np.arange(length.sum(), dtype=np.int32) - np.repeat(np.cumsum(length, dtype=np.int32) - length, length)
    depth = np.repeat(start - facets.furthest, length) + np.repeat(facets.depth[2, facet], length) * along
    pixel = np.repeat((row * width + first).astype(np.int32), length) + along
    front = np.full(height * width, -1)
    np.maximum.at(front, pixel, (depth * 64).astype(np.int64) << 32 | np.repeat(facet, length))
    covered = np.flatnonzero(front >= 0)
    return covered, ((front[covered] >> 32) / 64 + facets.furthest).astype(np.float32), front[covered] & 0xFFFFFFFF


def _at(
    plane: npt.NDArray[np.float32],
    facet: npt.NDArray[np.integer[Any]],
    row: npt.NDArray[np.float32],
    column: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """What changes evenly over triangles, as in _Facets, at pixels of them."""
    base, down, across = plane
    return np.asarray(base[facet] + down[facet] * row + across[facet] * column)


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
    coarse = relief[::OVERSAMPLING, ::OVERSAMPLING]
    behind = ndimage.uniform_filter(coarse, 2 * _reach(scale) // OVERSAMPLING + 1) - coarse
    shade = 1 - np.float32(0.45) * np.clip(behind / np.float32(30 * scale), 0, 1)
    return np.asarray(shade.repeat(OVERSAMPLING, axis=0).repeat(OVERSAMPLING, axis=1), dtype=np.float32)


def _reach(scale: float) -> int:
    """How far creases reach: 6 mm in pixels."""
    return max(2, round(6 * scale))
