"""Skull: what bone encloses on all sides, as a skull does a brain, is no organ of the abdomen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from abdoseg.image.components import Mask
from abdoseg.image.volume import Array, Geometry

# A brain is dark, and around it is bone in all directions, without fat between. By `enclosed_fraction` synthetic brains
# have .8 and more; organs of 25 patients, as they are and synthetic, at most .62, but a bright kidney amid bowel full
# of contrast medium .74. The HU of bone do for thin skulls and for scans that were clipped.
BRAIN_HU, BONE_HU, FAT_HU, ENCLOSED = 70.0, 180.0, -70.0, 0.7
RAYS, STEP_MM, REACH_MM = 128, 1.5, 240.0


def is_brain(piece: Mask, start: tuple[int, ...], image: npt.NDArray[np.float32], grid: Geometry) -> bool:
    """Whether a piece is dark and lies in a skull.

    piece: (I, J, K) in the part of the image that begins at voxel `start`. image: HU on `grid`.
    """
    box = tuple(slice(first, first + n) for first, n in zip(start, piece.shape, strict=True))
    if np.median(image[box][piece]) > BRAIN_HU:
        return False
    return enclosed_fraction(piece, start, image, grid) >= ENCLOSED


def enclosed_fraction(piece: Mask, start: tuple[int, ...], image: npt.NDArray[np.float32], grid: Geometry) -> float:
    """The fraction of directions from a piece's middle, of those that show bone, fat or gas, in which bone comes first.

    0 where less than half of them do. Directions are a golden spiral around a ball; along them means of 2 x 2 x 2
    voxels are looked at, which noise makes no bone of, and the piece itself is passed over.
    """
    voxels = np.argwhere(piece)
    middle = voxels[np.square((voxels - voxels.mean(axis=0)) * grid.spacing_mm).sum(axis=1).argmin()]
    up = np.linspace(-1, 1, RAYS)
    turn, aside = np.pi * (1 + 5**0.5) * np.arange(RAYS), np.sqrt(1 - up**2)
    directions = np.stack([aside * np.cos(turn), aside * np.sin(turn), up], axis=1)
    along = directions[:, None] * np.arange(0, REACH_MM, STEP_MM)[:, None] / grid.spacing_mm
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
