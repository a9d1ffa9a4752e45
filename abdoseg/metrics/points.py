"""Surface points of two masks: places, weights, and distances to the other surface by distance transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import edt
import numpy as np
import numpy.typing as npt

from abdoseg.metrics.elements import element_patterns, element_sizes

Surface = Literal["border", "elements"]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Surfaces:
    """The surfaces of two masks within the masks' common box, on one lattice of points.

    truth, prediction: bool, the same shape, True at a point of the surface. weights: of those points, in array order.
    steps_mm: of the lattice, one number an axis, or its axes as the columns of a matrix.
    """

    convention: Surface
    truth: Mask
    prediction: Mask
    truth_weights: Floats
    prediction_weights: Floats
    steps_mm: Floats

    def to_prediction(self, double: bool = False) -> Floats:
        """(n,) mm from each point of the truth's surface to the nearest of the prediction's. double: see `nearest`."""
        return nearest(self.truth, self.prediction, self.steps_mm, double)

    def to_truth(self, double: bool = False) -> Floats:
        """(n,) mm from each point of the prediction's surface to the nearest of the truth's."""
        return nearest(self.prediction, self.truth, self.steps_mm, double)


def surfaces(
    truth: Mask, prediction: Mask, spacing_mm: Sequence[float] | Floats, surface: Surface = "border"
) -> Surfaces:
    """The surfaces of two masks: bool, the same shape, of two or three axes. See `surface_distances`."""
    steps = np.asarray(spacing_mm, dtype=np.float64)
    if truth.shape != prediction.shape or truth.ndim not in (2, 3) or len(steps) != truth.ndim:
        raise ValueError(f"masks of shapes {truth.shape} and {prediction.shape} do not fit a spacing of {steps}")
    order = np.argsort([-abs(stride) for stride in truth.strides], kind="stable")  # memory's own order is the fast one
    truth, prediction = truth.transpose(order), prediction.transpose(order)
    steps = steps[order] if steps.ndim == 1 else steps[:, order]
    box = bounding_box(truth, prediction)
    a, b = np.ascontiguousarray(truth[box]), np.ascontiguousarray(prediction[box])
    if surface == "border":
        a, b = border(a), border(b)
        return Surfaces(surface, a, b, np.ones(np.count_nonzero(a)), np.ones(np.count_nonzero(b)), steps)
    if steps.ndim != 1:
        raise ValueError("surface elements are defined on grids with axes at right angles; use the border voxels")
    sizes = element_sizes(steps)
    (a, weights_a), (b, weights_b) = _elements(a, sizes), _elements(b, sizes)
    return Surfaces(surface, a, b, weights_a, weights_b, steps)


def border(mask: Mask) -> Mask:
    """The voxels that have a face in common with the background or with the outside of the array."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        source, target = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
        target[:1] = False
        target[-1:] = False
    return np.asarray(mask > inner)


def bounding_box(*arrays: npt.NDArray[np.bool_ | np.uint8]) -> tuple[slice, ...]:
    """The smallest box that holds all that is not 0 in any of the arrays; empty slices when nothing is."""
    spans = []
    while arrays[0].ndim:
        rest = tuple(range(1, arrays[0].ndim))
        found = np.flatnonzero(np.maximum.reduce([array.max(axis=rest, initial=0) for array in arrays]))
        spans.append(slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0))
        arrays = tuple(array.max(axis=0, initial=0) for array in arrays)
    return tuple(spans)


def nearest(points: Mask, target: Mask, steps_mm: Floats, double: bool = False) -> Floats:
    """(n,) mm from each point, in array order, to the nearest point of the target; infinite when that is empty.

    double: to the last digit, at ten times the time; otherwise to seven digits.
    """
    if not target.any() or not points.any():
        return np.full(int(np.count_nonzero(points)), np.inf)
    if steps_mm.ndim == 1 and double:
        from scipy.ndimage import distance_transform_edt

        return np.asarray(distance_transform_edt(~target, sampling=steps_mm)[points], dtype=np.float64)
    if steps_mm.ndim == 1:
        squares = edt.edtsq(~target, anisotropy=tuple(steps_mm.tolist()), black_border=False, parallel=1)
        return np.asarray(np.sqrt(squares[points], dtype=np.float64))
    from scipy.spatial import cKDTree

    distances, _ = cKDTree(np.argwhere(target) @ steps_mm.T).query(np.argwhere(points) @ steps_mm.T)
    return np.asarray(distances, dtype=np.float64)


def _elements(mask: Mask, sizes: Floats) -> tuple[Mask, Floats]:
    """Where a mask has surface elements, and their sizes in array order."""
    patterns = element_patterns(mask)
    there = np.asarray(patterns - np.uint8(1) < len(sizes) - 2)  # neither all outside, 0 wrapped to 255, nor all inside
    return there, sizes[patterns[there]]
