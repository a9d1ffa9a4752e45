"""A prediction and its truth on one grid: proved, or brought there by a named method."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from abdoseg.errors import GeometryError
from abdoseg.resample import resample_image, resample_labels
from abdoseg.volume import Geometry, Labelmap

Method = Literal["nearest", "linear"]
METHODS: tuple[Method, ...] = ("nearest", "linear")


def difference(truth: Geometry, prediction: Geometry, tolerance_mm: float) -> str | None:
    """How the prediction's grid differs from the truth's, with the numbers; None when it does not."""
    if truth.matches(prediction, tolerance_mm):
        return None
    if truth.shape != prediction.shape:
        return (
            f"the prediction has {_size(prediction)} voxels of {_spacing(prediction)} mm, "
            f"the truth {_size(truth)} of {_spacing(truth)} mm"
        )
    return (
        f"the same {_size(truth)} voxels, but corners up to {truth.distance_mm(prediction):.4g} mm apart "
        f"(spacing {_spacing(prediction)} mm against {_spacing(truth)} mm; tolerance {tolerance_mm:g} mm)"
    )


def onto(labelmap: Labelmap, target: Labelmap, method: Method) -> Labelmap:
    """The labelmap on the grid of `target`; background beyond its own.

    nearest: the label of the nearest voxel. linear: each organ's share of the voxel by linear interpolation, and the
    organ, or background, that has most. Raises GeometryError for a method that does not exist.
    """
    source, grid = labelmap.geometry, target.geometry
    if method == "nearest":
        labels = resample_labels(labelmap.labels, source, grid)
    elif method == "linear":
        labels = np.zeros(grid.shape, np.uint8)
        rest, best = np.ones(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
        for label in np.unique(labelmap.labels):
            if label:
                mask = np.asarray(labelmap.labels == label, dtype=np.float32)
                share = resample_image(mask, source, grid, outside=0.0)
                rest -= share
                labels[share > best] = label
                np.maximum(best, share, out=best)
        labels[rest > best] = 0
    else:
        raise GeometryError(f"there is no way of resampling called {method!r}; choose one of {', '.join(METHODS)}")
    return replace(labelmap, labels=labels * covered(source, grid), geometry=grid, stored=target.stored)


def covered(source: Geometry, target: Geometry) -> npt.NDArray[np.bool_]:
    """(I, J, K) of `target`: whether a voxel's centre lies within the source's outer voxels. Broadcast over slabs."""
    matrix = np.linalg.inv(source.affine) @ target.affine
    inside = np.ones(target.shape, dtype=bool)
    i, j, k = np.ogrid[tuple(slice(n) for n in target.shape)]
    for axis in range(3):
        a, b, c, shift = matrix[axis]
        place = (a * i).astype(np.float32) + (b * j).astype(np.float32) + (c * k + shift).astype(np.float32)
        inside &= (place >= -0.501) & (place <= source.shape[axis] - 0.499)
    return inside


def _size(geometry: Geometry) -> str:
    return " x ".join(str(n) for n in geometry.shape)


def _spacing(geometry: Geometry) -> str:
    return " x ".join(f"{step:.5g}" for step in geometry.spacing_mm)
