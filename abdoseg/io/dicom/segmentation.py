"""DICOM SEG reader: BINARY, FRACTIONAL and LABELMAP segments of any vendor, placed frame by frame.

pydicom decodes; the place of each frame is read as that of a CT's. highdicom, which writes such objects here, takes
.4 s to import and is not needed to read them.
Source: DICOM PS3.3, C.8.20 (Segmentation), C.7.6.16.2.1 and following (functional groups).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from abdoseg.errors import ScanError
from abdoseg.image.affines import lps_to_ras
from abdoseg.image.volume import Array, Geometry
from abdoseg.io.archive import Entry
from abdoseg.io.dicom.headers import Slice, read_frames
from abdoseg.io.dicom.organ_codes import Described
from abdoseg.io.dicom.series import SAME_PLACE_MM
from abdoseg.io.dicom.stack import usual_step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

OFF_GRID = 0.05  # of a voxel: a pixel further off lies on another grid
LEAST_FRACTION = 0.5  # from which a FRACTIONAL pixel belongs to its segment


def describe_segments(dataset: Dataset) -> Described:
    """The segments by number; a LABELMAP's background is left out."""
    described = {}
    for segment in dataset.SegmentSequence:
        kind, region = (
            next(iter(segment.get(keyword) or ()), None)
            for keyword in ("SegmentedPropertyTypeCodeSequence", "AnatomicRegionSequence")
        )
        if int(segment.SegmentNumber) > 0:
            described[int(segment.SegmentNumber)] = (str(segment.get("SegmentLabel", "")), kind, region)
    return described


def own_grid(entry: Entry, dataset: Dataset) -> Geometry:
    """The grid (columns, rows, slices) that spans the frames of a SEG; frames between them are empty."""
    frames = sorted(read_frames(entry, dataset), key=lambda piece: float(piece.position @ piece.normal))
    first, last = frames[0], frames[-1]
    along = np.array([float((piece.position - first.position) @ first.normal) for piece in frames])
    steps = np.diff(along)
    steps = steps[steps > SAME_PLACE_MM]
    step = usual_step(steps) if len(steps) else _thickness(dataset)
    count = 1 + round(float(along[-1]) / step)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = first.row * first.spacing_mm[0], first.column * first.spacing_mm[1]
    affine[:3, 2] = (last.position - first.position) / (count - 1) if count > 1 else first.normal * step
    affine[:3, 3] = first.position
    return Geometry((first.matrix[1], first.matrix[0], count), lps_to_ras(affine))


def place_segments(
    entry: Entry, dataset: Dataset, grid: Geometry, numbers: dict[int, int]
) -> npt.NDArray[np.uint8] | None:
    """Draws segments on a grid, (I, J, K) uint8; None when their pixels do not lie on its voxels.

    numbers: segment number to the label to draw; where segments overlap, the last in this order stays.
    """
    labels = np.zeros(grid.shape, np.uint8)
    rank = np.zeros(256, np.int64)
    rank[list(numbers.values())] = np.arange(1, len(numbers) + 1)
    to_index = np.linalg.inv(grid.affine)
    for piece, segment, mask in _frame_masks(entry, dataset, list(numbers)):
        rows, columns = np.nonzero(mask)
        if not len(rows):
            continue
        matrix = np.eye(4)
        matrix[:3, 0], matrix[:3, 1] = piece.row * piece.spacing_mm[0], piece.column * piece.spacing_mm[1]
        matrix[:3, 3] = piece.position
        exact = (to_index @ lps_to_ras(matrix))[:3] @ [columns, rows, np.zeros(len(rows)), np.ones(len(rows))]
        voxels = np.rint(exact).astype(np.intp)
        if np.abs(exact - voxels).max() > OFF_GRID or (voxels < 0).any() or (grid.shape <= voxels.T).any():
            return None
        at, label = tuple(voxels), numbers[segment]
        labels[at] = np.where(rank[labels[at]] > rank[label], labels[at], label)
    return labels


def _frame_masks(entry: Entry, dataset: Dataset, wanted: list[int]) -> Iterator[tuple[Slice, int, Array]]:
    """(frame, segment number, (rows, columns) mask) of the segments wanted; a LABELMAP's frame holds several."""
    from pydicom.pixels import iter_pixels

    kind = str(dataset.get("SegmentationType", "BINARY"))
    pieces = read_frames(entry, dataset)
    for piece, frame in zip(pieces, iter_pixels(dataset, raw=True), strict=True):
        if frame.shape != piece.matrix:
            raise ScanError(f"{entry.name}: pixels of {frame.shape}, but a header for {piece.matrix}; export it again")
        if kind == "LABELMAP":
            yield from ((piece, number, frame == number) for number in wanted if (frame == number).any())
            continue
        segment = _segment_of(dataset, piece.frame)
        if segment in wanted:
            least = 1 if kind == "BINARY" else LEAST_FRACTION * float(dataset.MaximumFractionalValue)
            yield piece, segment, frame >= least


def _segment_of(dataset: Dataset, frame: int) -> int:
    """The segment that a frame shows: its own functional group says so, or the one that all frames share."""
    shared: Any = dataset.get("SharedFunctionalGroupsSequence") or ()
    for groups in (dataset.PerFrameFunctionalGroupsSequence[frame], *shared):
        if "SegmentIdentificationSequence" in groups:
            return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    return int(dataset.SegmentSequence[0].SegmentNumber)


def _thickness(dataset: Dataset) -> float:
    """SliceThickness or SpacingBetweenSlices of the frames, for a SEG of one slice; 1 mm when it is not said."""
    shared: Any = dataset.get("SharedFunctionalGroupsSequence") or ()
    for groups in (*shared, dataset.PerFrameFunctionalGroupsSequence[0]):
        for measures in groups.get("PixelMeasuresSequence") or ():
            for keyword in ("SpacingBetweenSlices", "SliceThickness"):
                if measures.get(keyword):
                    return float(measures[keyword].value)
    return 1.0
