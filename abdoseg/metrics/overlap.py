"""Overlap metrics of two masks: Dice, IoU, precision, recall and accuracy from true and false positives and negatives.

Empty masks have stated values. Both empty: there is nothing to agree on, so all but accuracy are NaN. One empty: all
but accuracy are 0, precision of an empty prediction included, so that a model gains nothing by staying silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.unsignedinteger]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Confusion:
    """Voxels in both masks (tp), in the prediction alone (fp), in the truth alone (fn), and in neither (tn)."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def truth(self) -> int:
        """Voxels of the truth."""
        return self.tp + self.fn

    @property
    def prediction(self) -> int:
        """Voxels of the prediction."""
        return self.tp + self.fp

    @property
    def dice(self) -> float:
        """2|A and B| / (|A| + |B|). Source: Dice 1945, doi:10.2307/1932409."""
        return self._fraction(2 * self.tp, self.truth + self.prediction)

    @property
    def iou(self) -> float:
        """Intersection over union, or Jaccard index: |A and B| / |A or B|. Source: Jaccard 1912."""
        return self._fraction(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """The fraction of the prediction that is true."""
        return self._fraction(self.tp, self.prediction)

    @property
    def recall(self) -> float:
        """The fraction of the truth that was found: sensitivity."""
        return self._fraction(self.tp, self.truth)

    @property
    def accuracy(self) -> float:
        """The fraction of all voxels, background included, on which both agree. Near 1 for any small organ."""
        total = self.tp + self.fp + self.fn + self.tn
        return (self.tp + self.tn) / total if total else float("nan")

    def __add__(self, other: Confusion) -> Confusion:
        """The two cases pooled."""
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    def _fraction(self, part: int, whole: int) -> float:
        if self.truth == self.prediction == 0:
            return float("nan")
        return part / whole if whole else 0.0


def confusion(truth: npt.NDArray[np.bool_], prediction: npt.NDArray[np.bool_]) -> Confusion:
    """The four counts of two masks: bool, the same shape."""
    if truth.shape != prediction.shape:
        raise ValueError(f"masks of shapes {truth.shape} and {prediction.shape} cannot be compared")
    both = int(np.count_nonzero(truth & prediction))
    inside, found = int(np.count_nonzero(truth)), int(np.count_nonzero(prediction))
    return Confusion(both, found - both, inside - both, truth.size - inside - found + both)


def dice(truth: npt.NDArray[np.bool_], prediction: npt.NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks: 2|A and B| / (|A| + |B|). NaN when both are empty."""
    return confusion(truth, prediction).dice


def iou(truth: npt.NDArray[np.bool_], prediction: npt.NDArray[np.bool_]) -> float:
    """Intersection over union of two masks, also called Jaccard index. NaN when both are empty."""
    return confusion(truth, prediction).iou


def joint_histograms(truth: Labels, prediction: Labels, labels: int) -> Counts:
    """(planes, labels, labels) voxels by plane of the first axis, label of the truth (rows) and of the prediction.

    truth, prediction: the same shape, every value below `labels`. Every confusion follows from their sum over planes.
    """
    counts = np.zeros((len(truth), labels * labels), dtype=np.int64)
    dtype = np.min_scalar_type(labels * labels - 1).type
    for row, a, b in zip(counts, truth, prediction, strict=True):
        pairs = a.astype(dtype) * dtype(labels) + b
        somewhere = pairs[pairs != 0]  # most are background in both, and counting widens each to eight bytes
        row += np.bincount(somewhere, minlength=labels * labels)
        row[0] = pairs.size - somewhere.size
    return counts.reshape(-1, labels, labels)


def confusion_of(histogram: Counts, labels: Sequence[int]) -> Confusion:
    """The confusion of some labels taken together as one structure, from a joint histogram."""
    chosen = list(labels)
    tp = int(histogram[np.ix_(chosen, chosen)].sum())
    fp, fn = int(histogram[:, chosen].sum()) - tp, int(histogram[chosen].sum()) - tp
    return Confusion(tp, fp, fn, int(histogram.sum()) - tp - fp - fn)
