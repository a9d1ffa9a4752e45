"""The scores of one organ of one case, the options they are computed with, and the status of the organ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from types import MappingProxyType
from typing import Literal

from abdoseg.anatomy.organs import BY_NAME, ORGANS, host_of
from abdoseg.metrics import Confusion, Detection, Surface
from abdoseg.metrics.overlap import Counts

Status = Literal["true_positive", "false_negative", "false_positive", "true_negative", "no_prediction"]
STATUS: Mapping[Status, str] = MappingProxyType(
    {
        "true_positive": "in the truth and in the prediction",
        "false_negative": "in the truth, not in the prediction: overlap and NSD are 0, distances infinite",
        "false_positive": "in the prediction, not in the truth: overlap and NSD are 0, distances infinite; of lesions "
        "in an organ that has none they are not defined, and false lesions are counted",
        "true_negative": "in neither: there is nothing to agree on; only accuracy and the difference in ml are defined",
        "no_prediction": "the case has no prediction and counts as if nothing had been found",
    }
)


@dataclass(frozen=True)
class EvaluationOptions:
    """How cases are scored.

    Args:
        surface: the convention, see abdoseg.metrics.surface.
        tolerances_mm: of the NSD, by organ, in place of the organ's own.
        lesions_apart: an organ is scored without the lesions inside it; otherwise they are part of it.
        min_overlap: the fraction of a lesion above which it counts as found.
    """

    surface: Surface = "border"
    tolerances_mm: Mapping[str, float] = field(default_factory=dict)
    lesions_apart: bool = False
    min_overlap: float = 0.0

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
    def is_healthy(self) -> bool:
        """Whether the row is of lesions in an organ that has none: false ones are counted there, nothing else."""
        return self.lesions is not None and self.confusion.truth == 0

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
    """All scores of a case, and its joint histogram: voxels by our label in the truth (rows) and the prediction.

    unknown: numbers in the truth's and in the prediction's file that their scheme has no name for. lesions: kinds that
    the truth's labels can name, there or not.
    """

    case: str
    scores: tuple[Score, ...]
    histogram: Counts
    notes: tuple[str, ...] = ()
    unknown: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    lesions: tuple[str, ...] = ()
