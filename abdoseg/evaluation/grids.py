"""Grids of prediction and truth: how they differ, and resampling of labels from one onto the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from abdoseg.errors import GeometryError
from abdoseg.image.resample import resample_image, resample_labels
from abdoseg.image.volume import Geometry, Labelmap, labels_in

Labels = npt.NDArray[np.uint8]
Method = Literal["nearest", "linear"]
METHODS: tuple[Method, ...] = ("nearest", "linear")


def grid_difference(truth: Geometry, prediction: Geometry, tolerance_mm: float) -> str | None:
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


def resample_onto(labelmap: Labelmap, target: Labelmap, method: Method) -> Labelmap:
    """The labelmap on the grid of `target`; background beyond its own.

    Args:
        labelmap: what is resampled.
        target: gives the grid.
        method: nearest, the label of the voxel that each centre lies in; or linear, each organ's fraction of the voxel
            by linear interpolation, and the organ, or background, that has most.

    Raises:
        GeometryError: there is no such method.
    """
    if method not in METHODS:
        raise GeometryError(f"there is no way of resampling called {method!r}; choose one of {', '.join(METHODS)}")
    resample = resample_labels if method == "nearest" else _resample_linear
    labels = resample(labelmap.labels, labelmap.geometry, target.geometry)
    return replace(labelmap, labels=labels, geometry=target.geometry, stored=target.stored)


def _resample_linear(labels: Labels, source: Geometry, target: Geometry) -> Labels:
    """The label, background included, that fills most of each voxel of `target` by linear interpolation."""
    margin = np.ceil(target.spacing_mm.max() / source.spacing_mm).astype(int)  # background as far as the filter reaches
    around = source.cropped(-margin, source.shape + margin)
    found = np.zeros(target.shape, np.uint8)
    rest, best = np.ones(target.shape, np.float32), np.zeros(target.shape, np.float32)
    for label in labels_in(labels):
        mask = np.pad(np.asarray(labels == label, dtype=np.float32), [(n, n) for n in margin.tolist()])
        fraction = resample_image(mask, around, target, outside=0.0)
        rest -= fraction
        found[fraction > best] = label
        np.maximum(best, fraction, out=best)
    found[rest > best] = 0
    return found


def _size(geometry: Geometry) -> str:
    return " x ".join(str(n) for n in geometry.shape)


def _spacing(geometry: Geometry) -> str:
    return " x ".join(f"{step:.5g}" for step in geometry.spacing_mm)
