"""Plausibility: organs that cannot be what they are called are removed, so that scans without an abdomen give none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.reference_ranges import NEWBORN_ML, expected_hu
from abdoseg.quality.evidence import Evidence
from abdoseg.runtime.threads import on_all_cores

UNBELIEVABLE = 0.6  # mean probability below which an organ is not there
HU_SLACK = 25.0  # beyond the expected HU: cysts, pelves, lesions, a scanner's calibration
TRACE_ML = 1.0
# HU above which tissue is fat, what is between fat and water, soft tissue with and without contrast, and bone; the
# fraction of a body's voxels in each. In 23 patients and 20 synthetic ones, clipped or not: fat 0.18 to 0.67, and at
# least 1.6 times what is between (in slabs of 25 mm 1.2 and 0.9 times); soft tissue 0.29 to 0.72; bone at most 0.07.
# Heads of phantoms have up to 0.21 of bone.
TISSUES_HU = (-120.0, -40.0, -10.0, 300.0)
LEAST_FAT, LEAST_SOFT, MOST_BONE, MOST_BETWEEN = 0.05, 0.22, 0.12, 1.4  # the last of the fraction of fat
MOST_FILLED = 0.5  # of the body by one organ; in slabs through 23 patients' livers at most 0.24


def implausible(
    evidence: Mapping[str, Evidence], image: npt.NDArray[np.float32], voxel_ml: float, presence_threshold: float | None
) -> dict[str, str]:
    """The organs that cannot be what they are called, and why: half a sentence each.

    One organ that the network is sure of vouches for the scan; where none is, there is no abdomen in it, and small
    findings are what it mistook. image: (I, J, K) HU, of the grid that the evidence is from; voxel_ml: of that grid.
    presence_threshold: the mean probability from which an organ vouches. It is another for every network; where it is
    None, probabilities remove nothing.
    """
    known = {organ: found for organ, found in evidence.items() if organ in NEWBORN_ML}
    tissues = tissue_counts(image)
    if not shows_trunk(tissues):
        return dict.fromkeys(known, "the scan's fractions of fat, soft tissue and bone in HU are not a trunk's")
    body_ml = float(tissues.sum()) * voxel_ml
    reasons = {organ: _why_not(organ, found, body_ml, presence_threshold) for organ, found in known.items()}
    removed = {organ: why for organ, why in reasons.items() if why}
    kept = [found for organ, found in known.items() if organ not in removed]
    if presence_threshold is None or any(found.confidence >= presence_threshold for found in kept):
        return removed
    nothing = "no organ is certain (confidence {:.2f}), so the scan seems to show no abdomen"
    return {organ: removed.get(organ, nothing.format(found.confidence)) for organ, found in known.items()}


def _why_not(organ: str, found: Evidence, body_ml: float, presence_threshold: float | None) -> str | None:
    """Why the organ alone cannot be; None when it can."""
    if found.volume_ml > MOST_FILLED * body_ml:
        return f"it would fill {found.volume_ml / body_ml:.0%} of the body"
    low, high = expected_hu(organ) or (-np.inf, np.inf)
    if not low - HU_SLACK <= found.hu <= high + HU_SLACK:
        return f"a median of {found.hu:.0f} HU is not its tissue's"
    if presence_threshold is None:
        return None
    if found.confidence < UNBELIEVABLE:
        return f"the network is all but undecided (confidence {found.confidence:.2f})"
    if found.confidence < presence_threshold and found.volume_ml < (TRACE_ML if found.cut else NEWBORN_ML[organ] / 2):
        return f"there is too little of it, and the network is not certain (confidence {found.confidence:.2f})"
    return None


def tissue_counts(image: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Voxels of fat, of what is between fat and water, of soft tissue and of bone: together the body's.

    What lies at the image's lowest value is air, or was clipped.
    """
    planes, air = image.T, float(image.min()) + 5
    above = np.zeros((len(planes), len(TISSUES_HU) + 1), np.int64)

    def count(k: int) -> None:
        above[k, :-1] = [np.count_nonzero(planes[k] > max(edge, air)) for edge in TISSUES_HU]

    on_all_cores(count, len(planes))
    return np.asarray(-np.diff(above.sum(axis=0)))


def shows_trunk(tissues: npt.NDArray[np.int64]) -> bool:
    """Whether a body with so many voxels of each tissue may be a patient's trunk in HU."""
    if not tissues.any():
        return False
    fat, between, soft, bone = tissues / tissues.sum()
    return bool(fat >= LEAST_FAT and between <= MOST_BETWEEN * fat and soft >= LEAST_SOFT and bone <= MOST_BONE)
