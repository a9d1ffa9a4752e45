"""The grid that the network sees, and a scan resampled onto it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from abdoseg.image.resample import resample_image
from abdoseg.image.volume import Geometry, Volume
from abdoseg.model.plan import Plan

SKEWED_DEGREES = 2.0  # between axes: beyond, the network gets an orthogonal grid
TURNED_DEGREES = 20.0  # from the patient's axes: beyond, the network gets them upright


def resample_to_network_grid(volume: Volume, plan: Plan) -> tuple[npt.NDArray[np.float32], Geometry]:
    """The scan as the network wants it: (I, J, K) HU float32, not yet windowed, and the grid that it lies on."""
    grid = network_grid(volume.geometry, plan)
    return resample_image(volume.voxels, volume.geometry, grid, outside=plan.window_hu[0]), grid


def network_grid(geometry: Geometry, plan: Plan) -> Geometry:
    """The scan's box at the plan's spacing, along the scan's own axes.

    A sheared scan (a tilted gantry) gets the nearest orthogonal axes, one that lies askew to the patient the
    patient's; both a box that holds the whole scan.
    """
    if plan.inference_spacing_mm is None:
        return plan.grid(geometry)
    askew = geometry.turned_degrees > TURNED_DEGREES
    if geometry.shear_degrees < SKEWED_DEGREES and not askew:
        return geometry.resampled(plan.inference_spacing_mm)
    axes = np.eye(3) if askew else geometry.upright
    spacing = np.array(plan.inference_spacing_mm)
    corners = geometry.corners_mm() @ axes  # (8, 3) along the new axes
    low, high = corners.min(axis=0), corners.max(axis=0)
    shape = np.ceil((high - low) / spacing).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ ((low + high) / 2 - (shape - 1) * spacing / 2)
    return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)
