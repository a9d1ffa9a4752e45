"""Lesion-wise detection: true positive, false positive and false negative lesions of two masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cc3d
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
SIZES_MM = (10.0, 20.0)  # lesions below 10 mm are not measurable by RECIST 1.1; most that networks miss are below 20


@dataclass(frozen=True)
class Detection:
    """Lesions of the truth that were found (tp) and missed (fn), and predicted lesions where the truth has none (fp).

    diameters_mm: of each lesion of the truth, where they were measured; found: whether it was.
    """

    tp: int
    fp: int
    fn: int
    diameters_mm: tuple[float, ...] = field(default=(), compare=False)
    found: tuple[bool, ...] = field(default=(), compare=False)

    @property
    def truth(self) -> int:
        """Lesions of the truth."""
        return self.tp + self.fn

    @property
    def by_size(self) -> tuple[tuple[int, int], ...]:
        """For each range of SIZES_MM how many lesions of that diameter were found, and how many there are."""
        ranges = np.searchsorted(SIZES_MM, self.diameters_mm, side="right")
        return tuple(
            (int(np.sum(np.array(self.found, bool)[ranges == n])), int(np.sum(ranges == n)))
            for n in range(len(SIZES_MM) + 1)
        )

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN). NaN when there is no lesion on either side."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else float("nan")


def detect(
    truth: Mask, prediction: Mask, min_overlap: float = 0.0, diameter_mm: Callable[[Mask], float] | None = None
) -> Detection:
    """Compares the lesions of two masks (I, J, K): pieces that hang together by faces, edges or corners.

    A lesion of the truth is found when the prediction covers more than `min_overlap` of it: by default, one voxel.
    A predicted lesion is false when it shares no voxel with the truth.

    Args:
        truth: the lesions that there are.
        prediction: those predicted, the same shape.
        min_overlap: the fraction of a lesion that must be exceeded.
        diameter_mm: measures the mask of one lesion of the truth, cut to its box.
    """
    pieces = cc3d.connected_components(np.ascontiguousarray(truth), connectivity=26)
    sizes = np.bincount(pieces.ravel())
    covered = np.bincount(pieces[prediction], minlength=len(sizes))[: len(sizes)]
    found = (covered > 0)[1:] & (covered > min_overlap * sizes)[1:]
    diameters = []
    if diameter_mm is not None and found.size:
        boxes = cc3d.statistics(pieces)["bounding_boxes"][1:]
        diameters = [diameter_mm(pieces[box] == number) for number, box in enumerate(boxes, start=1)]
    predicted = cc3d.connected_components(np.ascontiguousarray(prediction), connectivity=26)
    true_pieces = np.unique(predicted[truth & prediction])
    tp = int(np.count_nonzero(found))
    return Detection(
        tp=tp,
        fp=int(predicted.max(initial=0)) - len(true_pieces),
        fn=len(found) - tp,
        diameters_mm=tuple(diameters),
        found=tuple(found.tolist()),
    )
