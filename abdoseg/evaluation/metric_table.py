"""The table of metrics: name, title, meaning, direction and value of each number of a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan
from types import MappingProxyType
from typing import Literal

from abdoseg.evaluation.score import Score

Better = Literal["higher", "lower", "zero", ""]


@dataclass(frozen=True)
class Metric:
    """One column. name: in files. title: for people. digits: decimals shown. meaning: a sentence for the glossary."""

    name: str
    title: str
    better: Better
    digits: int
    meaning: str
    value: Callable[[Score], float]

    def text(self, value: float) -> str:
        """The value for people: a dash where it is not defined, `inf` where it is infinite."""
        if value != value:
            return "–"
        return "inf" if value == float("inf") else f"{value:.{self.digits}f}"


def _of_diseased(value: Callable[[Score], float]) -> Callable[[Score], float]:
    """The value, but of lesions only where there are some: an organ without them is scored by its false ones."""
    return lambda score: nan if score.is_healthy else value(score)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("dice", "Dice", "higher", 4,
                   "Twice the common voxels over the voxels of both: 2TP / (2TP + FP + FN).",
                   _of_diseased(lambda score: score.confusion.dice)),
            Metric("iou", "IoU", "higher", 4,
                   "Intersection over union, TP / (TP + FP + FN), of the labels as they are: of a network's "
                   "probabilities, cut at 0.5.",
                   _of_diseased(lambda score: score.confusion.iou)),
            Metric("jaccard", "Jaccard", "higher", 4,
                   "The IoU by its other name.",
                   _of_diseased(lambda score: score.confusion.iou)),
            Metric("precision", "Precision", "higher", 4,
                   "The fraction of the prediction that is true: TP / (TP + FP).",
                   _of_diseased(lambda score: score.confusion.precision)),
            Metric("recall", "Recall", "higher", 4,
                   "The fraction of the truth that was found: TP / (TP + FN).",
                   _of_diseased(lambda score: score.confusion.recall)),
            Metric("accuracy", "Accuracy", "higher", 5,
                   "The fraction of all voxels of the scan, background included, on which both agree about the organ. "
                   "Near 1 for every small organ: it says little.",
                   lambda score: score.confusion.accuracy),
            Metric("hausdorff_mm", "Hausdorff, mm", "lower", 2,
                   "The largest distance from a point of either surface to the other surface.",
                   _of_diseased(lambda score: score.hausdorff_mm)),
            Metric("hd95_mm", "HD95, mm", "lower", 2,
                   "The same at the 95th percentile of each surface, the larger of the two.",
                   _of_diseased(lambda score: score.hd95_mm)),
            Metric("assd_mm", "ASSD, mm", "lower", 2,
                   "Average symmetric surface distance: the mean over the points of both surfaces.",
                   _of_diseased(lambda score: score.assd_mm)),
            Metric("nsd", "NSD", "higher", 4,
                   "Normalised surface Dice: the fraction of both surfaces within the organ's tolerance of the other.",
                   _of_diseased(lambda score: score.nsd)),
            Metric("truth_ml", "Truth, ml", "", 1, "Volume of the truth.", lambda score: score.truth_ml),
            Metric("prediction_ml", "Prediction, ml", "", 1, "Volume of the prediction.",
                   lambda score: score.prediction_ml),
            Metric("difference_ml", "Difference, ml", "zero", 1, "Volume of the prediction less that of the truth.",
                   lambda score: score.prediction_ml - score.truth_ml),
            Metric("difference_percent", "Difference, %", "zero", 1, "The same in percent of the truth's volume.",
                   lambda score: score.difference_percent),
            Metric("lesion_tp", "Lesions found", "", 0,
                   "Lesions of the truth (pieces that touch) of which the prediction covers more than "
                   "--lesion-overlap: by default, at least one voxel.",
                   lambda score: score.lesions.tp if score.lesions else nan),
            Metric("lesion_fp", "False lesions", "lower", 0, "Predicted lesions that share no voxel with the truth's.",
                   lambda score: score.lesions.fp if score.lesions else nan),
            Metric("lesion_fn", "Lesions missed", "lower", 0, "Lesions of the truth that were not found.",
                   lambda score: score.lesions.fn if score.lesions else nan),
            Metric("lesion_f1", "Lesion F1", "higher", 4, "2TP / (2TP + FP + FN), counted in lesions.",
                   lambda score: score.lesions.f1 if score.lesions else nan),
            Metric("truth_burden_percent", "Burden, truth, %", "", 2,
                   "The fraction of the organ, lesions included, that the lesions take up.",
                   lambda score: score.burden[0]),
            Metric("prediction_burden_percent", "Burden, prediction, %", "", 2, "The same of the prediction.",
                   lambda score: score.burden[1]),
            Metric("burden_error", "Burden, error", "zero", 2,
                   "Burden of the prediction less that of the truth, in percentage points.",
                   lambda score: score.burden[1] - score.burden[0]),
        )
    }
)  # fmt: skip
