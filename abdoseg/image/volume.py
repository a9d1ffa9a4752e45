"""Geometry, Volume and Labelmap: a grid in space, and the scan or labels on it.

Arrays are (I, J, K): I runs to the patient's right, J to anterior, K to superior. These are the canonical axes, RAS+.
Affines take voxel indices to RAS millimetres, as in NIfTI. How a file had its axes is kept in `Stored`, so that what
is written lies over the file's own array, voxel for voxel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from abdoseg.errors import GeometryError

Array = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]
AXIS_NAMES = (("L", "R"), ("P", "A"), ("I", "S"))
COUNTED = 2**20  # voxels at a time: numpy counts in 8 bytes a voxel
FACES = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where a grid lies: `shape` (I, J, K) and `affine` (4, 4), voxel centre indices to RAS mm.

    The affine may be oblique or sheared (a tilted gantry), but not singular. Raises GeometryError.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GeometryError(f"the affine {affine.tolist()} is not invertible; the file's geometry is damaged")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GeometryError(f"a grid of shape {self.shape} holds no voxels; three axes of at least 1 are needed")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @cached_property
    def spacing_mm(self) -> npt.NDArray[np.float64]:
        """(3,) the distance between voxel centres along each axis."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0), dtype=np.float64)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres, shear included."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def axes(self) -> str:
        """Where each axis points, nearest letter of RASLPI: 'RAS', 'LPS', ..."""
        names = ""
        for axis, sign in nearest_axes(self.affine):
            names += AXIS_NAMES[axis][int(sign > 0)]
        return names

    @property
    def shear_degrees(self) -> float:
        """The largest departure from right angles between two axes: a gantry's tilt. 0 for an orthogonal grid."""
        unit = self.affine[:3, :3] / self.spacing_mm
        cosines = np.abs(unit.T @ unit - np.eye(3))
        return float(np.degrees(np.arcsin(min(1.0, cosines.max()))))

    @cached_property
    def upright(self) -> npt.NDArray[np.float64]:
        """(3, 3) orthogonal unit vectors, a column an axis: those nearest to the grid's axes."""
        u, _, vt = np.linalg.svd(self.affine[:3, :3] / self.spacing_mm)
        return np.asarray(u @ vt, dtype=np.float64)

    @property
    def turned_degrees(self) -> float:
        """How far a canonical grid's axes are turned from the patient's."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.upright) - 1) / 2, -1, 1))))

    def corners_mm(self) -> npt.NDArray[np.float64]:
        """(8, 3) RAS mm of the corner voxels' centres."""
        last = np.array(self.shape) - 1
        indices = np.array(np.meshgrid(*[(0, n) for n in last], indexing="ij"), dtype=np.float64).reshape(3, 8)
        return np.asarray((self.affine[:3, :3] @ indices).T + self.affine[:3, 3], dtype=np.float64)

    def distance_mm(self, other: Geometry) -> float:
        """The largest distance between matching corners; infinite when the shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        return float(np.linalg.norm(self.corners_mm() - other.corners_mm(), axis=1).max())

    def matches(self, other: Geometry, tolerance_mm: float = 0.1) -> bool:
        """The same shape, and no corner further off than the tolerance."""
        return self.distance_mm(other) <= tolerance_mm

    def cropped(self, start: Sequence[int], stop: Sequence[int]) -> Geometry:
        """The grid of `array[start[0]:stop[0], ...]`."""
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ np.asarray(start, dtype=np.float64)
        return Geometry((stop[0] - start[0], stop[1] - start[1], stop[2] - start[2]), affine)

    def cropped_to(self, box: tuple[slice, slice, slice]) -> Geometry:
        """The grid of `array[box]`."""
        return self.cropped([side.start for side in box], [side.stop for side in box])

    def resampled(self, spacing_mm: Sequence[float]) -> Geometry:
        """The grid over the same box (outer faces of the outer voxels) with another spacing, centred on it."""
        spacing = np.asarray(spacing_mm, dtype=np.float64)
        extent = np.array(self.shape) * self.spacing_mm
        shape = np.maximum(1, np.round(extent / spacing)).astype(int)
        step = self.affine[:3, :3] / self.spacing_mm * spacing
        centre = self.affine[:3, 3] + self.affine[:3, :3] @ ((np.array(self.shape) - 1) / 2)
        affine = np.eye(4)
        affine[:3, :3] = step
        affine[:3, 3] = centre - step @ ((shape - 1) / 2)
        return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def nearest_axes(affine: Affine) -> tuple[tuple[int, int], ...]:
    """For each array axis, the world axis (0 R, 1 A, 2 S) that it lies nearest to, and its sign there.

    Each world axis is taken once; the assignment is the one with the largest sum of squared cosines, so it is
    also right for oblique and sheared grids.
    """
    matrix = np.asarray(affine)[:3, :3]
    unit = matrix / np.linalg.norm(matrix, axis=0)
    best = max(itertools.permutations(range(3)), key=lambda order: sum(unit[order[a], a] ** 2 for a in range(3)))
    return tuple((world, 1 if unit[world, a] >= 0 else -1) for a, world in enumerate(best))


@dataclass(frozen=True, eq=False)
class Stored:
    """How a file had its grid: `geometry` there, and for NIfTI its header, to be written back as it was.

    header: the scan's NIfTI header, a record (see abdoseg.io.nifti.header), or None when the scan was no NIfTI file.
    """

    geometry: Geometry
    header: Any = field(default=None, repr=False)

    def canonical(self) -> Geometry:
        """The same grid with its axes reordered and flipped to RAS+; voxels keep their places in space."""
        geometry, axes = self.geometry, nearest_axes(self.geometry.affine)
        affine = np.eye(4)
        shape = [0, 0, 0]
        affine[:3, 3] = geometry.affine[:3, 3]
        for a, (world, sign) in enumerate(axes):
            column = geometry.affine[:3, a]
            shape[world] = geometry.shape[a]
            affine[:3, world] = sign * column
            if sign < 0:
                affine[:3, 3] += column * (geometry.shape[a] - 1)
        return Geometry((shape[0], shape[1], shape[2]), affine)

    def to_canonical(self, array: Array) -> Array:
        """A stored array's view in canonical axes. Lossless: axes are reordered and flipped, nothing else."""
        axes = nearest_axes(self.geometry.affine)
        flipped = array[tuple(slice(None, None, sign) for _, sign in axes)]
        worlds = [world for world, _ in axes]
        return flipped.transpose([worlds.index(world) for world in range(3)])

    def from_canonical(self, array: Array) -> Array:
        """The inverse of `to_canonical`: a canonical array's view in stored axes."""
        axes = nearest_axes(self.geometry.affine)
        return array.transpose([world for world, _ in axes])[tuple(slice(None, None, sign) for _, sign in axes)]


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT in canonical axes.

    voxels: (I, J, K) HU, int16 or float32. notes: what reading changed or guessed, a sentence each, for the record.
    details: facts about the source without patient data (series chosen, modality, gaps, tilt), JSON-able.
    """

    voxels: Array
    geometry: Geometry
    stored: Stored
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_shape(self.voxels, self.geometry)


@dataclass(frozen=True, eq=False)
class Labelmap:
    """One organ a voxel: `labels` (I, J, K) uint8 in canonical axes, and the names of the numbers in it.

    organs: label to organ name, for every label that was looked for, found or not. unknown: numbers in the file that
    its scheme has no name for; they are background here.
    """

    labels: npt.NDArray[np.uint8]
    geometry: Geometry
    stored: Stored
    organs: dict[int, str]
    unknown: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_shape(self.labels, self.geometry)

    @property
    def named(self) -> npt.NDArray[np.uint8]:
        """(256,) a table of labels: those with a name in `organs` as they are, all others 0."""
        table = np.zeros(256, np.uint8)
        table[list(self.organs)] = list(self.organs)
        return table

    def mask(self, organ: str) -> npt.NDArray[np.bool_]:
        """(I, J, K) bool. Raises KeyError for an organ that was not looked for."""
        for label, name in self.organs.items():
            if name == organ:
                return np.asarray(self.labels == label)
        raise KeyError(organ)


def memory_order(array: Array) -> npt.NDArray[np.intp]:
    """The axes from the slowest to the fastest: passes over an array are several times faster so."""
    return np.argsort([-abs(stride) for stride in array.strides], kind="stable")


def labels_in(labels: Array) -> list[int]:
    """The labels above 0 that are there, in order; unsigned integers of at most 16 bits, any shape and memory order."""
    flat = labels.ravel(order="K")
    counts = np.zeros(int(np.iinfo(labels.dtype).max) + 1, np.int64)
    for start in range(0, flat.size, COUNTED):
        counts += np.bincount(flat[start : start + COUNTED], minlength=len(counts))
    found: list[int] = (1 + np.flatnonzero(counts[1:])).tolist()
    return found


def _check_shape(array: Array, geometry: Geometry) -> None:
    if array.shape != geometry.shape:
        raise GeometryError(f"an array of shape {array.shape} does not fill a grid of shape {geometry.shape}")
