"""One case: every organ's numbers from two labelmaps on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from math import nan
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from abdoseg.anatomy import BY_NAME, MAIN, ORGANS
from abdoseg.metrics import (
    Confusion,
    Detection,
    Surface,
    bounding_box,
    confusion_of,
    detect,
    joint_histogram,
    surface_distances,
)
from abdoseg.metrics.overlap import Counts
from abdoseg.volume import Geometry, Labelmap

LABELS = max(organ.label for organ in ORGANS) + 1
TILT_DEGREES = 0.1  # between two axes; beyond it distances are measured point by point instead of along the axes
Labels = npt.NDArray[np.uint8]
Status = Literal["both", "missed", "unfounded", "absent", "missing"]
STATUS: Mapping[Status, str] = MappingProxyType(
    {
        "both": "in the truth and in the prediction",
        "missed": "in the truth, not in the prediction: overlap and NSD are 0, distances infinite",
        "unfounded": "in the prediction, not in the truth: overlap and NSD are 0, distances infinite",
        "absent": "in neither: there is nothing to agree on; only accuracy and the difference in ml are defined",
        "missing": "the case has no prediction and counts as if nothing had been found",
    }
)


@dataclass(frozen=True)
class Settings:
    """How cases are scored.

    surface: the convention, see abdoseg.metrics.surface. tolerances_mm: of the NSD, by organ, in place of the organ's
    own. lesions_apart: an organ is scored without the lesions inside it; otherwise they are part of it.
    least_overlap: the share of a lesion above which it counts as found.
    """

    surface: Surface = "border"
    tolerances_mm: Mapping[str, float] = field(default_factory=dict)
    lesions_apart: bool = False
    least_overlap: float = 0.0

    def tolerance_mm(self, organ: str) -> float:
        """The tolerance of an organ's NSD: the one asked for, or that of the FLARE challenges."""
        return self.tolerances_mm.get(organ, BY_NAME[organ].nsd_tolerance_mm)

    def labels_of(self, organ: str) -> tuple[int, ...]:
        """Our labels that make up an organ: its own, and those of the lesions inside it."""
        inside = [lesion.label for lesion in ORGANS if lesion.is_lesion and host_of(lesion.name) == organ]
        return (BY_NAME[organ].label, *(() if self.lesions_apart else inside))


@dataclass(frozen=True)
class Score:
    """One organ of one case. Lengths in mm, volumes in ml; NaN where a value is not defined.

    lesions, burden: of tumours only. burden: percent of the organ they are in, of the truth and of the prediction.
    """

    case: str
    organ: str
    status: Status
    confusion: Confusion
    voxel_ml: float
    surface: Surface
    hausdorff_mm: float
    hd95_mm: float
    assd_mm: float
    nsd: float
    nsd_tolerance_mm: float
    lesions: Detection | None = None
    burden: tuple[float, float] = (nan, nan)

    @property
    def truth_ml(self) -> float:
        """Volume of the truth."""
        return self.confusion.truth * self.voxel_ml

    @property
    def prediction_ml(self) -> float:
        """Volume of the prediction."""
        return self.confusion.prediction * self.voxel_ml

    @property
    def difference_percent(self) -> float:
        """Prediction less truth, of the truth's volume; NaN when that is 0."""
        return 100 * (self.prediction_ml / self.truth_ml - 1) if self.truth_ml else nan


@dataclass(frozen=True, eq=False)
class CaseScores:
    """All scores of a case, and its joint histogram: voxels by our label in the truth (rows) and the prediction."""

    case: str
    scores: tuple[Score, ...]
    histogram: Counts
    notes: tuple[str, ...] = ()


def host_of(lesion: str) -> str:
    """The organ that a lesion lies in: `liver_tumour` in the liver."""
    return lesion.rsplit("_", 1)[0]


def score_case(
    case: str, truth: Labelmap, prediction: Labelmap | None, settings: Settings, pool: Executor
) -> CaseScores:
    """Scores every organ that the truth's labels can name and that is there, and the four main ones there or not.

    prediction: on the truth's grid (see abdoseg.evaluation.grids), or None when the case has none. pool: for organs.
    """
    geometry = truth.geometry
    order = np.argsort([-abs(stride) for stride in truth.labels.strides], kind="stable")
    a = truth.labels.transpose(order)  # memory's own order is the fast one
    b = prediction.labels.transpose(order) if prediction is not None else np.zeros((1,) * 3, np.uint8)
    box = bounding_box(a != 0, b != 0) if prediction is not None else bounding_box(a != 0)
    a = np.ascontiguousarray(a[box])
    b = np.ascontiguousarray(b[box]) if prediction is not None else np.zeros_like(a)
    histogram = joint_histogram(a, b, LABELS)
    histogram[0, 0] += int(np.prod(geometry.shape)) - a.size
    steps, tilted = _steps(geometry, settings.surface, order)
    boxes = list(zip(_boxes(a), _boxes(b), strict=True))

    def score(organ: str) -> Score:
        labels = settings.labels_of(organ)
        confusion = confusion_of(histogram, labels)
        around = _union([box for label in labels for box in boxes[label - 1] if box])
        inside, found = _mask(a[around], labels), _mask(b[around], labels)
        lesions, burden = None, (nan, nan)
        if BY_NAME[organ].is_lesion:
            lesions = detect(inside, found, settings.least_overlap)
            burden = _burden(histogram, organ)
        if len(steps) == 2:  # a single slice has contours, not surfaces
            flat = int(np.argmin([geometry.shape[axis] for axis in order]))
            inside, found = np.asarray(inside.any(axis=flat)), np.asarray(found.any(axis=flat))
        distances = surface_distances(inside, found, steps, settings.surface)
        tolerance = settings.tolerance_mm(organ)
        return Score(
            case, organ, _status(confusion, prediction is None), confusion, geometry.voxel_ml, settings.surface,
            distances.hausdorff(), distances.hausdorff(95), distances.assd(), distances.nsd(tolerance), tolerance,
            lesions, burden,
        )  # fmt: skip

    organs = _organs(truth, histogram, settings)
    notes = (tilted,) if tilted else ()
    return CaseScores(case, tuple(pool.map(score, organs)), histogram, notes)


def _organs(truth: Labelmap, histogram: Counts, settings: Settings) -> list[str]:
    """In the order of ORGANS."""
    present = {label for label in range(LABELS) if histogram[label].any() or histogram[:, label].any()}
    names = set(truth.organs.values())
    chosen = []
    for organ in ORGANS:
        there = any(label in present for label in settings.labels_of(organ.name))
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


def _boxes(labels: Labels) -> list[tuple[slice, ...] | None]:
    found: list[tuple[slice, ...] | None] = ndimage.find_objects(labels, max_label=LABELS - 1)
    return found


def _union(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    """The box around all boxes; empty when there are none."""
    if not boxes:
        return (slice(0, 0),) * 3
    return tuple(slice(min(s.start for s in spans), max(s.stop for s in spans)) for spans in zip(*boxes, strict=True))


def _mask(labels: Labels, wanted: Sequence[int]) -> npt.NDArray[np.bool_]:
    mask = np.asarray(labels == wanted[0])
    for label in wanted[1:]:
        mask |= labels == label
    return mask


def _status(confusion: Confusion, missing: bool) -> Status:
    if missing:
        return "missing"
    if confusion.truth and confusion.prediction:
        return "both"
    if confusion.truth:
        return "missed"
    return "unfounded" if confusion.prediction else "absent"


def _burden(histogram: Counts, lesion: str) -> tuple[float, float]:
    """Percent of the organ, lesions included, that the lesion takes up, in the truth and in the prediction."""
    label, host = BY_NAME[lesion].label, BY_NAME[host_of(lesion)].label
    shares = []
    for counts in (histogram.sum(axis=1), histogram.sum(axis=0)):
        whole = int(counts[label] + counts[host])
        shares.append(100 * int(counts[label]) / whole if counts[host] else nan)
    return shares[0], shares[1]
