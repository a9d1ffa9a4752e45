"""DICOM RTSTRUCT reader: closed planar contours filled by the even-odd rule on the slices of a grid.

Source: DICOM PS3.3, C.8.8.5 (Structure Set), C.8.8.6 (ROI Contour), C.8.8.8 (RT ROI Observations).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from abdoseg.errors import GeometryError
from abdoseg.image.affines import lps_to_ras
from abdoseg.image.volume import Geometry
from abdoseg.io.dicom.organ_codes import Described

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Points = npt.NDArray[np.float64]  # (N, 3)
FLAT = 0.3  # of a slice's distance: what a contour may leave its plane by
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def describe_structures(dataset: Dataset) -> Described:
    """The ROIs by number."""
    kinds = {}
    for observation in dataset.get("RTROIObservationsSequence") or ():
        for code in observation.get("RTROIIdentificationCodeSequence") or ():
            kinds[int(observation.ReferencedROINumber)] = code
    return {
        int(roi.ROINumber): (str(roi.get("ROIName", "")), kinds.get(int(roi.ROINumber)), None)
        for roi in dataset.StructureSetROISequence
    }


def draw_structures(dataset: Dataset, grid: Geometry, numbers: dict[int, int]) -> npt.NDArray[np.uint8]:
    """Draws structures on a grid, (I, J, K) uint8.

    numbers: ROI number to the label to draw; where structures overlap, the last in this order stays.
    Raises GeometryError when the contours do not lie in the grid's slices.
    """
    contours = _contours(dataset, np.linalg.inv(lps_to_ras(grid.affine)))
    wanted = [points for roi in numbers for points in contours.get(roi, ())]
    labels = np.zeros(grid.shape, np.uint8)
    if not wanted:
        return labels
    leaving = np.max([np.ptp(points, axis=0) for points in wanted], axis=0)
    axis = int(leaving.argmin())
    if leaving[axis] > FLAT:
        raise GeometryError(
            f"the contours do not lie in slices of the grid: they cross {leaving[axis]:.1f} of them; "
            "name the series that they were drawn on"
        )
    planes = np.moveaxis(labels, axis, 0)
    within = [other for other in range(3) if other != axis]
    for roi, label in numbers.items():
        by_plane: dict[int, list[Points]] = {}
        for points in contours.get(roi, ()):
            by_plane.setdefault(round(float(points[:, axis].mean())), []).append(points[:, within])
        for plane, polygons in by_plane.items():
            if 0 <= plane < len(planes):
                planes[plane][fill_even_odd(polygons, planes[plane].shape)] = label
    return labels


def fill_even_odd(polygons: Sequence[Points], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """The pixels whose centres lie inside an odd number of polygons' windings, so that inner contours are holes.

    Args:
        polygons: (N, 2) row and column of each closed polygon's corners, in pixels from the first centre.
        shape: rows and columns.

    >>> square = np.array([[0.5, 0.5], [0.5, 3.5], [3.5, 3.5], [3.5, 0.5]])
    >>> int(fill_even_odd([square], (5, 5)).sum())
    9
    """
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)  # of the line through a row's centres, by the next column
    for polygon in polygons:
        starts, stops = polygon, np.roll(polygon, -1, axis=0)
        for (row0, column0), (row1, column1) in zip(starts.tolist(), stops.tolist(), strict=True):
            low, high = min(row0, row1), max(row0, row1)
            rows = np.arange(max(0, int(np.ceil(low))), min(shape[0], int(np.ceil(high))))
            if len(rows):
                columns = column0 + (rows - row0) * (column1 - column0) / (row1 - row0)
                np.add.at(crossings, (rows, np.clip(np.ceil(columns), 0, shape[1]).astype(np.intp)), 1)
    return np.asarray(np.cumsum(crossings[:, :-1], axis=1) % 2, dtype=np.bool_)


def _contours(dataset: Dataset, to_index: npt.NDArray[np.floating]) -> dict[int, list[Points]]:
    """ROI number to the corners of its closed contours, taken from LPS mm to voxel indices."""
    found: dict[int, list[Points]] = {}
    for roi in dataset.get("ROIContourSequence") or ():
        for contour in roi.get("ContourSequence") or ():
            if str(contour.get("ContourGeometricType", "")) not in CLOSED:
                continue
            points = np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
            if len(points) >= 3 and np.isfinite(points).all():
                indices = points @ to_index[:3, :3].T + to_index[:3, 3]
                found.setdefault(int(roi.ReferencedROINumber), []).append(indices)
    return found
