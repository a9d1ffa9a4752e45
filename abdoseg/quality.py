"""How far an organ's labels can be trusted: the network's own doubt, what had to be corrected, and plain anatomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from abdoseg.components import box_of, positive
from abdoseg.measure import OrganVolume
from abdoseg.volume import Geometry

DOUBTFUL = 0.85  # mean probability below which an organ is to be looked at
UNSETTLED = 0.05  # share of an organ's volume that correction changed
# Millilitres that hold nearly all adults, disease included; outside, a person should look.
# Source: the usual ranges of radiology textbooks, widened by hand for large livers and spleens and single kidneys.
ADULT_ML: Mapping[str, tuple[float, float]] = {
    "liver": (700, 3000),
    "spleen": (40, 900),
    "kidney_right": (60, 400),
    "kidney_left": (60, 400),
}


@dataclass(frozen=True)
class Quality:
    """One organ's. confidence: mean probability over its voxels against the likeliest other organ; None if absent.

    flags: reasons to look at it, from "not_found", "doubtful", "corrected", "small", "large", "wrong_side".
    """

    confidence: float | None
    flags: tuple[str, ...]


def assess(
    fields: npt.NDArray[np.float16],
    rows: Sequence[OrganVolume],
    changed_ml: Mapping[str, float],
    geometry: Geometry,
    middle: float | None,
) -> dict[str, Quality]:
    """The quality of each row's organ, from its field (I, J, K) in `fields`, rows and fields in one order.

    changed_ml: what post-processing changed of each organ. middle: index along I of the body's middle, or None.
    """
    found = {}
    for field, row in zip(fields, rows, strict=True):
        box = box_of(positive(field))
        values = field[box][positive(field[box])].astype(np.float32) if box else np.empty(0, np.float32)
        confidence = float((1 / (1 + np.exp(-values))).mean()) if len(values) else None
        flags = [] if row.voxels else ["not_found"]
        if confidence is not None and confidence < DOUBTFUL:
            flags.append("doubtful")
        if row.voxels and changed_ml[row.organ] > UNSETTLED * row.volume_ml:
            flags.append("corrected")
        low, high = ADULT_ML.get(row.organ, (0.0, np.inf))
        if row.complete and row.volume_ml < low:
            flags.append("small")
        if row.volume_ml > high:
            flags.append("large")
        if box and middle is not None and _on_wrong_side(row.organ, box[0], middle, geometry.spacing_mm[0]):
            flags.append("wrong_side")
        found[row.organ] = Quality(confidence, tuple(flags))
    return found


def _on_wrong_side(organ: str, across: slice, middle: float, spacing_mm: float) -> bool:
    """Whether the organ's whole extent lies more than 10 mm beyond the middle, where it should not be."""
    if organ in ("liver", "kidney_right"):
        return bool((middle - across.stop) * spacing_mm > 10)
    if organ in ("spleen", "kidney_left"):
        return bool((across.start - middle) * spacing_mm > 10)
    return False
