"""Pixel accuracy, Jaccard, precision, recall and Dice from a confusion matrix, as scikit-learn defines them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class PixelMetrics:
    """Metrics of voxels pooled over patches or scans; NaN where nothing was counted.

    Attributes:
        loss: of the recipe.
        accuracy: fraction of voxels whose channel is right, background included: accuracy_score.
        jaccard, precision, recall, dice: jaccard_score, precision_score, recall_score and f1_score with
            average="macro" over the organs that the truth or the prediction has; an organ that only one of them has
            counts as 0. The background is left out, or it alone would raise a Jaccard of 0 to .5.
    """

    loss: float = math.nan
    accuracy: float = math.nan
    jaccard: float = math.nan
    precision: float = math.nan
    recall: float = math.nan
    dice: float = math.nan


NOT_MEASURED = PixelMetrics()


def pixel_metrics(confusion: npt.NDArray[np.int64], loss: float) -> PixelMetrics:
    """The metrics of a confusion matrix.

    Args:
        confusion: (C, C) voxels by true and predicted channel, background first.
        loss: goes into the metrics as it is.
    """
    if not confusion.any():
        return PixelMetrics(loss=loss)
    right = np.diag(confusion)[1:].astype(float)
    true, predicted = confusion.sum(axis=1)[1:], confusion.sum(axis=0)[1:]
    seen = true + predicted > 0

    def mean(numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.int64]) -> float:
        values = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)[seen]
        return float(values.mean()) if seen.any() else math.nan

    return PixelMetrics(
        loss=loss,
        accuracy=float(np.trace(confusion) / confusion.sum()),
        jaccard=mean(right, true + predicted - np.diag(confusion)[1:]),
        precision=mean(right, predicted),
        recall=mean(right, true),
        dice=mean(2 * right, true + predicted),
    )


def count_confusion(logits: Tensor, target: Tensor, owners: Sequence[Sequence[int]]) -> Tensor:
    """(C, C) int64 voxels by true and predicted channel, unannotated channels counted as what they belong to.

    Args:
        logits: (B, C, I, J, K).
        target: (B, I, J, K) int64 channels.
        owners: of each sample, as `losses.owners_of` gives them.
    """
    classes = logits.shape[1]
    table = torch.tensor(owners, device=target.device)  # (B, C)
    found = logits.detach().argmax(dim=1)  # (B, I, J, K)
    true, predicted = (table.gather(1, channels.flatten(1)) for channels in (target, found))
    return torch.bincount((true * classes + predicted).flatten(), minlength=classes**2).view(classes, classes)
