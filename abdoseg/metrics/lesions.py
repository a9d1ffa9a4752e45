"""Lesion-wise detection: true positive, false positive and false negative lesions of two masks."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Detection:
    """tp: lesions of the truth that were found; fn: missed. fp: predicted lesions where the truth has none."""

    tp: int
    fp: int
    fn: int

    @property
    def truth(self) -> int:
        """Lesions of the truth."""
        return self.tp + self.fn

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN). NaN when there is no lesion on either side."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else float("nan")


def detect(truth: npt.NDArray[np.bool_], prediction: npt.NDArray[np.bool_], min_overlap: float = 0.0) -> Detection:
    """Compares the lesions of two masks (I, J, K): pieces that hang together by faces, edges or corners.

    A lesion of the truth is found when the prediction covers more than `min_overlap` of it: by default, one voxel.
    A predicted lesion is false when it touches no voxel of the truth.
    """
    pieces = cc3d.connected_components(np.ascontiguousarray(truth), connectivity=26)
    sizes = np.bincount(pieces.ravel())
    covered = np.bincount(pieces[prediction], minlength=len(sizes))[: len(sizes)]
    found = int(np.count_nonzero((covered > 0)[1:] & (covered > min_overlap * sizes)[1:]))
    predicted = cc3d.connected_components(np.ascontiguousarray(prediction), connectivity=26)
    true_pieces = np.unique(predicted[truth & prediction])
    return Detection(tp=found, fp=int(predicted.max(initial=0)) - len(true_pieces), fn=len(sizes) - 1 - found)
