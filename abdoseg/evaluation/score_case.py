"""Scores of one case: overlap, surface distances, volumes and lesions of every organ from two labelmaps."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME, MAIN, ORGANS, host_of
from abdoseg.evaluation.score import CaseScores, EvaluationOptions, Score, Status
from abdoseg.image.lesions import axial_diameters
from abdoseg.image.volume import Geometry, Labelmap
from abdoseg.metrics import (
    Confusion,
    Detection,
    Surface,
    SurfaceDistances,
    Surfaces,
    bounding_box,
    confusion_of,
    detect,
    joint_histograms,
    surfaces,
)
from abdoseg.metrics.overlap import Counts

LABELS = max(organ.label for organ in ORGANS) + 1
TILT_DEGREES = 0.1  # between two axes; beyond it distances are measured point by point instead of along the axes
Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def score_case(
    case: str, truth: Labelmap, prediction: Labelmap | None, options: EvaluationOptions, pool: Executor
) -> CaseScores:
    """Scores every organ that the truth's labels can name and that is there, and the four main ones there or not.

    Args:
        case: the case's name, for the rows.
        truth: the ground truth.
        prediction: on the truth's grid (see abdoseg.evaluation.grids), or None when the case has none.
        options: how it is scored.
        pool: computes organs beside each other.
    """
    geometry = truth.geometry
    pair = _Pair.of(truth, prediction)
    histogram = pair.planes.sum(axis=0)
    histogram[0, 0] += int(np.prod(geometry.shape)) - pair.truth.size
    steps, tilted = _steps(geometry, options.surface, pair.order)

    def diameter_mm(lesion: Mask) -> float:
        return axial_diameters(lesion.transpose(np.argsort(pair.order)), geometry).longest_mm

    def extract(organ: str) -> tuple[Surfaces, Detection | None]:
        inside, found = pair.masks(options.labels_of(organ))
        lesions = detect(inside, found, options.min_overlap, diameter_mm) if BY_NAME[organ].is_lesion else None
        if len(steps) == 2:  # a single slice has contours, not surfaces
            flat = int(np.argmin([geometry.shape[axis] for axis in pair.order]))
            inside, found = np.asarray(inside.any(axis=flat)), np.asarray(found.any(axis=flat))
        return surfaces(inside, found, steps, options.surface), lesions

    def score(organ: str, lesions: Detection | None, distances: SurfaceDistances) -> Score:
        confusion, tolerance = confusion_of(histogram, options.labels_of(organ)), options.tolerance_mm(organ)
        status = _status(confusion, prediction is None)
        absent = status == "true_negative"  # where DeepMind's convention has infinite distances
        return Score(
            case=case,
            organ=organ,
            status=status,
            confusion=confusion,
            voxel_ml=geometry.voxel_ml,
            surface=options.surface,
            hausdorff_mm=nan if absent else distances.hausdorff(),
            hd95_mm=nan if absent else distances.hausdorff(95),
            assd_mm=distances.assd(),
            nsd=distances.nsd(tolerance),
            nsd_tolerance_mm=tolerance,
            lesions=lesions,
            burden=_burden(histogram, organ) if lesions else (nan, nan),
        )

    organs = _organs(truth, histogram, options)
    measuring = [  # each direction is a job of its own, or all threads but one would wait for the largest organ's
        (organ, lesions, points, pool.submit(points.to_prediction), pool.submit(points.to_truth))
        for organ, (points, lesions) in zip(organs, pool.map(extract, organs), strict=True)
    ]
    scoring = [
        pool.submit(score, organ, lesions, SurfaceDistances.between(points, there.result(), back.result()))
        for organ, lesions, points, there, back in measuring
    ]
    return CaseScores(
        case=case,
        scores=tuple(job.result() for job in scoring),
        histogram=histogram,
        notes=(tilted,) if tilted else (),
        unknown=(truth.unknown, prediction.unknown if prediction else ()),
        lesions=tuple(organ for organ in truth.organs.values() if BY_NAME[organ].is_lesion),
    )


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both label arrays with their axes in memory's own `order`, the fast one, cut to the box of what is there.

    planes: voxels by plane of the first axis, label of the truth, and label of the prediction.
    """

    truth: Labels
    prediction: Labels
    order: npt.NDArray[np.intp]
    planes: Counts

    @classmethod
    def of(cls, truth: Labelmap, prediction: Labelmap | None) -> _Pair:
        """The pair of two labelmaps; all background for a prediction that is missing."""
        order = np.argsort([-abs(stride) for stride in truth.labels.strides], kind="stable")
        a = truth.labels.transpose(order)
        b = np.zeros(a.shape, np.uint8) if prediction is None else prediction.labels.transpose(order)
        box = bounding_box(a, b)
        a, b = np.ascontiguousarray(a[box]), np.ascontiguousarray(b[box])
        return cls(a, b, order, joint_histograms(a, b, LABELS))

    def masks(self, labels: Sequence[int]) -> tuple[Mask, Mask]:
        """Some labels taken together as one structure, on the planes that hold it."""
        chosen = list(labels)
        counts = self.planes[:, chosen].sum(axis=(1, 2)) + self.planes[:, :, chosen].sum(axis=(1, 2))
        (span,) = bounding_box(counts > 0)
        return _mask(self.truth[span], chosen), _mask(self.prediction[span], chosen)


def _organs(truth: Labelmap, histogram: Counts, options: EvaluationOptions) -> list[str]:
    """In the order of ORGANS."""
    present = {label for label in range(LABELS) if histogram[label].any() or histogram[:, label].any()}
    names = set(truth.organs.values())
    chosen = []
    for organ in ORGANS:
        there = any(label in present for label in options.labels_of(organ.name))
        if organ.name in names and (there or organ.name in MAIN):
            chosen.append(organ.name)
    return chosen


def _steps(geometry: Geometry, surface: Surface, order: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.float64], str]:
    """The spacing of the axes in `order`, without that of a single slice; or for a tilted grid its axes in mm."""
    spacing = geometry.spacing_mm[order]
    shape = np.array(geometry.shape)[order]
    if np.count_nonzero(shape == 1) == 1:
        return spacing[shape > 1], ""
    if geometry.shear_degrees <= TILT_DEGREES:
        return spacing, ""
    if surface == "border":
        return geometry.affine[:3, :3][:, order], ""
    return spacing, (
        f"the axes are {geometry.shear_degrees:.1f} degrees off right angles: surface elements are measured as "
        "if they were not; --surface border measures them as they are"
    )


def _mask(labels: Labels, wanted: Sequence[int]) -> npt.NDArray[np.bool_]:
    mask = np.asarray(labels == wanted[0])
    for label in wanted[1:]:
        mask |= labels == label
    return mask


def _status(confusion: Confusion, missing: bool) -> Status:
    if not confusion.truth:
        return "false_positive" if confusion.prediction else "true_negative"
    if missing:
        return "no_prediction"
    return "true_positive" if confusion.prediction else "false_negative"


def _burden(histogram: Counts, lesion: str) -> tuple[float, float]:
    """Percent of the organ, lesions included, that the lesion takes up, in the truth and in the prediction."""
    label, host = BY_NAME[lesion].label, BY_NAME[host_of(lesion)].label
    percents = []
    for counts in (histogram.sum(axis=1), histogram.sum(axis=0)):
        whole = int(counts[label] + counts[host])
        percents.append(100 * int(counts[label]) / whole if counts[host] else nan)
    return percents[0], percents[1]
