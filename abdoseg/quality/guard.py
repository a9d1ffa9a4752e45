"""Findings that cannot be what they are called: scans without an abdomen give none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from abdoseg.quality.evidence import Evidence
from abdoseg.quality.expected import NEWBORN_ML, expected_hu

CERTAIN = 0.85  # mean probability from which an organ vouches for the scan
UNBELIEVABLE = 0.65  # mean probability below which an organ is not there
HU_SLACK = 25.0  # beyond the expected HU: cysts, pelves, lesions, a scanner's calibration
TRACE_ML = 1.0
# HU of fat, of what is between fat and water, of soft tissue with and without contrast, and of bone; the share of a
# body's voxels in each. In 23 patients and 20 painted ones, clipped or not: fat 0.18 to 0.67, and at least 1.6 times
# what is between; soft tissue 0.29 to 0.72; bone at most 0.07.
FAT_HU, BETWEEN_HU, SOFT_HU, BONE_HU = (-120.0, -40.0), (-40.0, -10.0), (-10.0, 300.0), (300.0, np.inf)
LEAST_FAT, LEAST_SOFT, MOST_BONE = 0.03, 0.22, 0.3


def implausible(evidence: Mapping[str, Evidence], image: npt.NDArray[np.float32]) -> dict[str, str]:
    """The organs that cannot be what they are called, and why: half a sentence each.

    One organ that the network is sure of vouches for the scan; where none is, there is no abdomen in it, and small
    findings are what it mistook. image: (I, J, K) HU.
    """
    known = {organ: found for organ, found in evidence.items() if organ in NEWBORN_ML}
    if known and not seems_hu(image):
        return dict.fromkeys(known, "the scan's values have not the fat and soft tissue of a patient in HU")
    removed = {organ: why for organ, found in known.items() if (why := _why_not(organ, found))}
    if any(found.confidence >= CERTAIN for organ, found in known.items() if organ not in removed):
        return removed
    nothing = "no organ is certain (confidence {:.2f}), so the scan seems to show no abdomen"
    return {organ: removed.get(organ, nothing.format(found.confidence)) for organ, found in known.items()}


def _why_not(organ: str, found: Evidence) -> str | None:
    """Why the organ alone cannot be; None when it can."""
    low, high = expected_hu(organ) or (-np.inf, np.inf)
    if not low - HU_SLACK <= found.hu <= high + HU_SLACK:
        return f"a median of {found.hu:.0f} HU is not its tissue's"
    if found.confidence < UNBELIEVABLE:
        return f"the network is all but undecided (confidence {found.confidence:.2f})"
    if found.confidence < CERTAIN and found.volume_ml < (TRACE_ML if found.cut else NEWBORN_ML[organ] / 2):
        return f"there is too little of it, and the network is not certain (confidence {found.confidence:.2f})"
    return None


def seems_hu(image: npt.NDArray[np.float32]) -> bool:
    """Whether a patient in HU may be in the scan. What lies at the lowest value is air, or was clipped."""
    body = image[image > max(FAT_HU[0], float(image.min()) + 5)]
    if not body.size:
        return False
    fat, between, soft, bone = (
        float(((body > low) & (body <= high)).mean()) for low, high in (FAT_HU, BETWEEN_HU, SOFT_HU, BONE_HU)
    )
    return fat >= LEAST_FAT and fat > between and soft >= LEAST_SOFT and bone <= MOST_BONE
