"""Surface distances of each side alone, as other implementations give them: averages, and what lies near the other."""

import numpy as np


def averages(found):
    """The mean distance from truth to prediction, and from prediction to truth; NaN from an empty mask."""
    sides = ((found.truth_mm, found.truth_weights), (found.prediction_mm, found.prediction_weights))
    return tuple(np.average(mm, weights=weights) if len(mm) else np.nan for mm, weights in sides)


def masd(found):
    """Mean average surface distance, as Metrics Reloaded defines it."""
    return np.nanmean(averages(found)) if len(found.truth_mm) + len(found.prediction_mm) else np.nan


def overlaps(found, tolerance_mm):
    """The fraction of the truth's surface within the tolerance of the prediction's, and the other way round."""
    sides = ((found.truth_mm, found.truth_weights), (found.prediction_mm, found.prediction_weights))
    return tuple(weights[mm <= tolerance_mm].sum() / weights.sum() if len(mm) else np.nan for mm, weights in sides)
