"""Calibrated confidence: the Dice that an organ's labels are expected to have, and the probability that it is poor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.reference_ranges import POSITION_MM, POSITION_SD_MM
from abdoseg.quality.evidence import Evidence

POOR_DICE = 0.85
REVIEW = 0.1  # probability of a poor Dice from which a person should look; its miss rate stands in the model card
FEATURES = ("one", "doubt", "much_doubt", "least_sure", "displaced", "dropped", "unclaimed")
# By `tests/benchmarks/confidence.py fit`, of samples by the weights that saw diseases: logistic regressions
# of (Dice < .85), and of Dice.
POOR_WEIGHTS = (-3.873, 3.170, 0.838, 0.326, 0.156, 0.727, 1.439)
DICE_WEIGHTS = (2.676, -0.977, -0.610, -0.031, -0.042, -0.364, -0.339)
_USUAL_DOUBT = 0.05  # 1 less the mean probability of a whole organ in a good scan
_MAX = 4.0  # that a feature may be, so that nothing is extrapolated far


class Dropped(Protocol):
    """What post-processing dropped of an organ."""

    @property
    def dropped_ml(self) -> float: ...


@dataclass(frozen=True)
class Prediction:
    """What is expected of an organ's labels: its Dice, and the probability that it is below POOR_DICE."""

    dice: float
    p_poor: float


def predict(organ: str, evidence: Mapping[str, Evidence], dropped: Dropped) -> Prediction | None:
    """The prediction for an organ that is there; None for organs without reference ranges.

    evidence: of all organs that stayed.
    """
    if organ not in POSITION_MM or organ not in evidence:
        return None
    values = features(organ, evidence, dropped.dropped_ml)
    return Prediction(_logistic(values @ np.array(DICE_WEIGHTS)), _logistic(values @ np.array(POOR_WEIGHTS)))


def features(organ: str, evidence: Mapping[str, Evidence], dropped_ml: float) -> npt.NDArray[np.float64]:
    """(F,) in the order of FEATURES.

    one: the intercept. doubt: logarithm of 1 less the mean probability, 0 for a usual organ. much_doubt: its square
    above 0. least_sure: that logarithm for the organ of the scan that is least sure. displaced: standard deviations
    from where the other organs say that it lies. dropped, unclaimed: logarithms of what post-processing dropped and of
    tissue like it beyond its border, in tenths of what is left.
    """
    own = evidence[organ]
    doubt = _doubt(own)
    others = [one.centre_mm - POSITION_MM[other] for other, one in evidence.items()
              if other != organ and other in POSITION_MM]  # fmt: skip
    displaced = 0.0
    if others:
        off_mm = own.centre_mm - np.median(others, axis=0) - POSITION_MM[organ]
        displaced = float(np.sqrt(np.square(off_mm / POSITION_SD_MM).mean()))
    least = max(_doubt(one) for other, one in evidence.items() if other in POSITION_MM)
    dropped = np.log1p(10 * dropped_ml / own.volume_ml)
    unclaimed = np.log1p(10 * own.unclaimed_ml / own.volume_ml)
    return np.minimum([1.0, doubt, max(0.0, doubt) ** 2, least, displaced, dropped, unclaimed], _MAX)


def _doubt(evidence: Evidence) -> float:
    return float(np.log(max(1 - evidence.confidence, 1e-3) / _USUAL_DOUBT))


def _logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
