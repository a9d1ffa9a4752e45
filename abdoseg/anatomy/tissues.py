"""Tissues that a CT of the trunk shows, and their HU by contrast phase: one table.

Mean HU at about 120 kVp, and the standard deviation between patients. Sources:
liver without contrast (58 +- 9; 32 +- 14 with severe steatosis): doi:10.1007/s00414-019-02016-1;
soft tissues without contrast, and how scanners differ: Lamba et al. 2014, PMC5015439;
how vessels and organs enhance with time, dose and weight: Bae 2010, doi:10.1148/radiol.10090908;
renal artery, cortex and medulla (enhancement 240 to 288, 195 to 217, up to 145): PMID 17367973;
trabecular bone by age (226 +- 44 below 30 years, 89 +- 38 from 90): doi:10.1148/radiol.2019181648.
fat: what 13 public scans show (medians from -104 to -78, visceral fat denser than subcutaneous).
What these do not give stands at the middle of the range that radiologists quote.
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

Phase = Literal["noncontrast", "arterial", "portal", "delayed"]
PHASES: tuple[Phase, ...] = ("noncontrast", "arterial", "portal", "delayed")


class Tissue(IntEnum):
    """Numbers of a tissue map, below 64."""

    AIR = 0  # around the patient
    LIVER = 1
    SPLEEN = 2
    KIDNEY_CORTEX = 3
    KIDNEY_MEDULLA = 4
    KIDNEY_SINUS = 5  # sinus fat, pelvis and hilar vessels
    PANCREAS = 6
    ADRENAL = 7
    BILE = 8
    ARTERY = 9
    VEIN = 10  # inferior vena cava and what drains into it
    PORTAL_VEIN = 11
    MYOCARDIUM = 12
    HEART_BLOOD = 13
    LUNG = 14
    GAS = 15
    BOWEL_WALL = 16  # and oesophagus
    STOMACH_LUMEN = 17  # a lumen has four numbers, from its posterior quarter to its anterior one: gas rises
    SMALL_BOWEL_LUMEN = 21
    COLON_LUMEN = 25
    URINE = 29
    GLAND = 30  # prostate, uterus and their like
    THYROID = 31
    NERVE = 32  # spinal cord and its sac, brain
    CARTILAGE = 33
    DISC = 34
    BONE_CORTEX = 35
    BONE_MARROW = 36
    MUSCLE = 37
    FAT = 38
    GAP = 39  # between the organs: fat with strands and vessels, bowel that nobody labelled
    SKIN = 40
    TABLE = 41
    TUMOUR = 42
    WATER = 43  # cysts, effusion, ascites
    ORAL_CONTRAST = 44
    FAECES = 45
    FOOD = 46
    SLOW_PULP = 47  # of a spleen that enhances in bands: red pulp that fills late


LUMEN_TIERS = 4
# Mean HU in the order of PHASES, then the standard deviation between patients.
_ROWS: Mapping[Tissue, tuple[float, float, float, float, float]] = MappingProxyType(
    {
        Tissue.AIR: (-1000, -1000, -1000, -1000, 0),
        Tissue.LIVER: (58, 74, 108, 92, 8),
        Tissue.SPLEEN: (48, 125, 118, 94, 8),
        Tissue.KIDNEY_CORTEX: (32, 190, 190, 145, 18),
        Tissue.KIDNEY_MEDULLA: (30, 80, 155, 145, 16),
        Tissue.KIDNEY_SINUS: (-85, -80, -75, -75, 12),
        Tissue.PANCREAS: (40, 100, 95, 76, 9),
        Tissue.ADRENAL: (28, 62, 72, 58, 9),
        Tissue.BILE: (10, 10, 11, 12, 7),
        Tissue.ARTERY: (42, 300, 155, 112, 18),
        Tissue.VEIN: (42, 85, 135, 110, 16),
        Tissue.PORTAL_VEIN: (42, 115, 165, 114, 14),
        Tissue.MYOCARDIUM: (46, 105, 110, 92, 9),
        Tissue.HEART_BLOOD: (42, 250, 150, 112, 20),
        Tissue.LUNG: (-850, -845, -840, -840, 40),
        Tissue.GAS: (-950, -950, -950, -950, 15),
        Tissue.BOWEL_WALL: (38, 78, 85, 70, 10),
        Tissue.URINE: (6, 6, 8, 60, 6),
        Tissue.GLAND: (42, 70, 88, 82, 10),
        Tissue.THYROID: (105, 180, 160, 140, 18),
        Tissue.NERVE: (28, 29, 30, 30, 5),
        Tissue.CARTILAGE: (95, 96, 97, 97, 20),
        Tissue.DISC: (85, 86, 88, 88, 10),
        Tissue.BONE_CORTEX: (620, 622, 625, 625, 130),
        Tissue.BONE_MARROW: (165, 170, 175, 172, 45),
        Tissue.MUSCLE: (54, 57, 62, 63, 6),
        Tissue.FAT: (-101, -101, -100, -100, 7),
        Tissue.GAP: (-94, -93, -92, -92, 8),
        Tissue.SKIN: (15, 20, 28, 28, 15),
        Tissue.TABLE: (-40, -40, -40, -40, 80),
        Tissue.TUMOUR: (36, 55, 66, 64, 16),
        Tissue.WATER: (6, 6, 7, 7, 5),
        Tissue.ORAL_CONTRAST: (260, 260, 260, 260, 90),
        Tissue.FAECES: (30, 30, 30, 30, 20),
        Tissue.FOOD: (25, 25, 25, 25, 18),
        Tissue.SLOW_PULP: (48, 68, 112, 94, 8),
    }
)
TISSUE_COUNT = 64


def _column(index: int) -> npt.NDArray[np.float32]:
    column = np.zeros(TISSUE_COUNT, np.float32)
    for tissue, row in _ROWS.items():
        column[tissue] = row[index]
    for lumen in (Tissue.STOMACH_LUMEN, Tissue.SMALL_BOWEL_LUMEN, Tissue.COLON_LUMEN):
        column[lumen : lumen + LUMEN_TIERS] = _ROWS[Tissue.WATER][index]
    column.setflags(write=False)
    return column


MEAN_HU: Mapping[Phase, npt.NDArray[np.float32]] = MappingProxyType(
    {phase: _column(index) for index, phase in enumerate(PHASES)}
)
SPREAD_HU = _column(len(PHASES))


def patient_hu(
    phase: Phase,
    deviations: npt.NDArray[np.float32] | None = None,
    *,
    strength: float = 1.0,
    towards: tuple[Phase, float] | None = None,
) -> npt.NDArray[np.float32]:
    """HU of every tissue in one patient: (64,) float32, by tissue number.

    deviations: (64,) how many standard deviations this patient's tissues lie off the mean; None is the mean patient.
    strength: scales what the contrast adds to the unenhanced HU (dose, weight, circulation).
    towards: another phase and its weight, for a scan between two phases.
    """
    mean = MEAN_HU[phase]
    if towards is not None:
        other, weight = towards
        mean = (1 - weight) * mean + weight * MEAN_HU[other]
    plain = MEAN_HU["noncontrast"]
    hu = plain + np.float32(strength) * (mean - plain)
    if deviations is not None:
        hu = hu + SPREAD_HU * deviations
    return np.asarray(hu, dtype=np.float32)
