"""Signed distance functions of ellipsoids and tubes in a smoothly warped space, and smooth noise.

Distances are in mm, negative inside. Positions are mm to the patient's right, front and head of a point before the
first lumbar vertebra. Everything is placed and drawn in mm, so a seed is the same patient on any grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from abdoseg.image.components import Box

Floats = npt.NDArray[np.float32]
Point = tuple[float, float, float]
REACH_MM = 300.0  # noise is drawn this far around the origin, whatever the grid
WARP_MARGIN_MM = 30.0


@dataclass(frozen=True)
class Space:
    """A grid's coordinates in mm: along its axes, and each voxel's position in the patient, (I, J, K) each."""

    axes: tuple[Floats, Floats, Floats]
    x: Floats
    y: Floats
    z: Floats

    def box(self, low: Point, high: Point) -> Box:
        """The part of the grid in which a shape between these corners lies, wherever the warp has taken it."""
        parts = []
        for axis, least, most in zip(self.axes, low, high, strict=True):
            start, stop = np.searchsorted(axis, (least - WARP_MARGIN_MM, most + WARP_MARGIN_MM))
            parts.append(slice(int(start), int(stop)))
        return parts[0], parts[1], parts[2]

    def part(self, box: Box) -> Space:
        axes = (self.axes[0][box[0]], self.axes[1][box[1]], self.axes[2][box[2]])
        return Space(axes, self.x[box], self.y[box], self.z[box])


def warped_space(shape: Sequence[int], spacing_mm: Sequence[float], rng: np.random.Generator) -> Space:
    """The grid centred on the origin, its positions displaced smoothly by up to a centimetre or two."""
    axes = [
        ((np.arange(n, dtype=np.float32) - (n - 1) / 2) * np.float32(step))
        for n, step in zip(shape, spacing_mm, strict=True)
    ]
    positions = []
    for axis, along in enumerate(axes):
        displaced = 5.0 * noise(axes, 80.0, rng) + 1.5 * noise(axes, 30.0, rng)
        displaced += along.reshape([-1 if a == axis else 1 for a in range(3)])
        positions.append(displaced)
    return Space((axes[0], axes[1], axes[2]), positions[0], positions[1], positions[2])


def noise(axes: Sequence[Floats], step_mm: float, rng: np.random.Generator) -> Floats:
    """(I, J, K) smooth noise, mean 0, deviation 1: cubic B-splines on a lattice of this step."""
    count = int(np.ceil(2 * REACH_MM / step_mm)) + 4
    field = rng.standard_normal((count, count, count), dtype=np.float32)
    for along in axes:  # each turn replaces the lattice's first axis by the grid's, and moves it to the end
        used, weights = _splines(along, step_mm, count)
        field = np.tensordot(field[used], weights, axes=(0, 1))
    return np.ascontiguousarray(field / np.float32(0.3317))  # (sum of the squared weights, 0.479) to the power 3/2


def _splines(along: Floats, step_mm: float, count: int) -> tuple[slice, Floats]:
    """The lattice's points that bear on these n positions, and their weights (n, points).

    Positions beyond the lattice take its edge.
    """
    at = np.clip((along + REACH_MM) / step_mm, 0.0, count - 4.001)
    cell = at.astype(np.intp)
    first, last = int(cell.min()), int(cell.max()) + 4
    t = (at - cell).astype(np.float32)
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    matrix = np.zeros((len(along), last - first), np.float32)
    np.put_along_axis(matrix, cell[:, None] - first + np.arange(4), weights, axis=1)
    return slice(first, last), matrix


def ellipsoid(space: Space, centre: Point, radii: Point, tilt_degrees: tuple[float, float] = (0.0, 0.0)) -> Floats:
    """Signed distance to an ellipsoid, exact at its surface.

    tilt_degrees: of its long axis, to the right and to the front.
    """
    x, y, z = space.x - centre[0], space.y - centre[1], space.z - centre[2]
    right, front = np.tan(np.radians(tilt_degrees)).astype(np.float32)
    x, y = x - right * z, y - front * z
    r = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
    return np.asarray((r - 1) * min(radii), np.float32)


def tube(space: Space, points: Sequence[Point], radii: Sequence[float]) -> tuple[Floats, Floats]:
    """Signed distance to a tube along a polyline with a radius at each point; and the height within it, -1 to 1.

    The height is the voxel's, to the front of the nearest point of the centre line, in radii. Away from the tube the
    distance is infinite.
    """
    distance = np.full(space.x.shape, np.inf, np.float32)
    height = np.zeros(space.x.shape, np.float32)
    for start, stop, first, last in zip(points, points[1:], radii, radii[1:], strict=False):
        box = space.box(*bounds([start, stop], max(first, last)))
        near = space.part(box)
        d = np.subtract(stop, start).astype(np.float32)
        px, py, pz = near.x - start[0], near.y - start[1], near.z - start[2]
        t = np.clip((px * d[0] + py * d[1] + pz * d[2]) / np.float32(d @ d), 0, 1)
        radius = first + (last - first) * t
        px, py, pz = px - t * d[0], py - t * d[1], pz - t * d[2]
        here = np.sqrt(px * px + py * py + pz * pz) - radius
        nearer = here < distance[box]
        distance[box] = np.where(nearer, here, distance[box])
        height[box] = np.where(nearer, py / radius, height[box])
    return distance, height


def smooth_intersection(*distances: Floats, softness_mm: float = 6.0) -> Floats:
    """Signed distance to the intersection of shapes, its edges rounded."""
    largest = np.maximum.reduce(distances)
    total = sum(np.exp((d - largest) / np.float32(softness_mm)) for d in distances)
    return np.asarray(largest + np.float32(softness_mm) * np.log(total), np.float32)


def bounds(points: Sequence[Point], radius: float) -> tuple[Point, Point]:
    """The corners of the box around balls of one radius at these points."""
    low, high = np.min(points, axis=0) - radius, np.max(points, axis=0) + radius
    return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))
