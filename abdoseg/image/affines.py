"""Affines: whether one is usable, made orthogonal where only rounding shears it, and LPS to RAS."""

from __future__ import annotations

import numpy as np

from abdoseg.image.volume import Affine, Geometry

ROUNDING_MM = 0.1
SMALLEST, FARTHEST = 1e-6, 1e6  # of a step and of an origin: micrometres in a file in metres, kilometres off
FLATTEST = 1e-3  # volume of the cell that the axes' unit vectors span


def is_usable(affine: Affine) -> bool:
    """Whether an affine can belong to a scan: finite, of sane size, its axes not in one plane."""
    if not np.isfinite(affine).all() or np.abs(affine).max() > FARTHEST:
        return False
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(steps.min() > SMALLEST and abs(np.linalg.det(affine[:3, :3] / steps)) > FLATTEST)


def straightened(affine: Affine, shape: tuple[int, int, int]) -> tuple[Affine, float]:
    """The nearest affine with right angles, where that moves no voxel by more than 0.1 mm; and the shear, in degrees.

    The grid turns about its centre. An affine with a real shear, a gantry's tilt for one, is given back as it is.
    Source: polar decomposition, Higham 1986, doi:10.1137/0907079.
    """
    geometry = Geometry(shape, affine)
    shear = geometry.shear_degrees
    if shear < 1e-4:
        return affine, shear
    u, _, vt = np.linalg.svd(affine[:3, :3] / geometry.spacing_mm)
    straight = np.array(affine, dtype=np.float64)
    straight[:3, :3] = (u @ vt) * geometry.spacing_mm
    straight[:3, 3] += (affine[:3, :3] - straight[:3, :3]) @ ((np.array(shape) - 1) / 2)
    return (straight if geometry.distance_mm(Geometry(shape, straight)) <= ROUNDING_MM else affine), shear


def lps_to_ras(affine: Affine) -> Affine:
    """DICOM's and ITK's left, posterior, superior to ours; its own inverse."""
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, dtype=np.float64)
