"""Reference ranges: organ volumes of healthy adults and newborns, and mean HU of organs in any phase."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.tissues import MEAN_HU, PHASES, SPREAD_HU, Tissue

Range = tuple[float, float]

# Millilitres that hold the central 95 % of healthy adults of both sexes; where sources differ, the wider.
# liver: 1510 +- 250 in 77 adults (CT, doi:10.1016/j.acra.2012.01.015); 825 to 1700 in 2989 donors, most of them young
# (Kim et al., Population-based and personalized reference intervals for liver and spleen volumes, 2021).
# spleen: 237 +- 78 in 45 adults (CT, doi:10.1016/j.acra.2013.01.011); 81 to 322 in the 2989 donors.
# kidney: from the 5th percentile of women above 60 to what the quartiles of 885 men (154, 174, 197) give as their
# 97.5th, on a logarithmic scale (MRI of a general population, doi:10.3390/jcm13030769).
HEALTHY_ML: Mapping[str, Range] = {
    "liver": (825.0, 2010.0),
    "spleen": (81.0, 393.0),
    "kidney_right": (92.0, 250.0),
    "kidney_left": (92.0, 250.0),
}
# Millilitres from which an organ is enlarged in an adult of any size and sex. Spleen: 2.5 standard deviations above the
# mean of the healthy, "massive" in the same source. Liver: 1.08 l per m2 of body surface, "massive" in the same source,
# for 2.3 m2 (190 cm and 100 kg).
ENLARGED_ML: Mapping[str, float] = {"liver": 1080.0 * 2.3, "spleen": 430.84}
# Grams, and so nearly millilitres, of a newborn's organ. Source: ICRP Publication 89, reference masses.
NEWBORN_ML: Mapping[str, float] = {"liver": 130, "spleen": 9.5, "kidney_right": 12.5, "kidney_left": 12.5}
USUAL_ML_SD = 0.7  # of the logarithm of a volume, disease and children included; healthy adults have .2 to .4
# Centres of whole organs, mm to the right, to the front and up from the mean of the four: means of 25 scans. From where
# three of them say that it is the fourth lies by a standard deviation of 8 to 15, 10 to 16 and 12 to 21 mm; wider here,
# for organs that are displaced, and for a scan's end.
POSITION_MM: Mapping[str, npt.NDArray[np.float64]] = {
    "liver": np.array([75.0, 40.0, 32.0]),
    "kidney_right": np.array([79.0, -13.0, -35.0]),
    "kidney_left": np.array([-63.0, -13.0, -28.0]),
    "spleen": np.array([-90.0, -14.0, 31.0]),
}
POSITION_SD_MM = np.array([20.0, 20.0, 30.0])
_PARENCHYMA: Mapping[str, tuple[Tissue, ...]] = {
    "liver": (Tissue.LIVER,),
    "spleen": (Tissue.SPLEEN,),
    "kidney_right": (Tissue.KIDNEY_CORTEX, Tissue.KIDNEY_MEDULLA),
    "kidney_left": (Tissue.KIDNEY_CORTEX, Tissue.KIDNEY_MEDULLA),
}
_STRONGEST = 1.75  # times the usual enhancement: two deviations of what dose, weight and circulation make of it
_STEATOSIS_SD_HU = 20.0  # what fat takes off livers, of all
_STEATOSIS_HU = 32.0 - 3 * 14.0  # a liver of severe steatosis; its source is in `tissues`


def usual_ml(organ: str) -> float:
    """The geometric middle of a healthy adult organ's range. Raises KeyError for organs without a range."""
    low, high = HEALTHY_ML[organ]
    return float(np.sqrt(low * high))


def hu_above_liver(organ: str) -> tuple[float, float]:
    """By how much an organ is brighter than the liver of the same scan: mean and standard deviation over the phases.

    The deviation holds that of the tissues between patients, and a fatty liver. Raises KeyError for organs without a
    reference.
    """
    phases = [np.mean([MEAN_HU[phase][tissue] for tissue in _PARENCHYMA[organ]]) - MEAN_HU[phase][Tissue.LIVER]
              for phase in PHASES]  # fmt: skip
    spreads = [SPREAD_HU[Tissue.LIVER], *(SPREAD_HU[tissue] for tissue in _PARENCHYMA[organ]), _STEATOSIS_SD_HU]
    return float(np.mean(phases)), float(np.sqrt(np.var(phases) + np.square(spreads).sum()))


def expected_hu(organ: str) -> Range | None:
    """The lowest and highest mean HU of an organ, from no contrast to much; None for organs without a reference."""
    if organ not in _PARENCHYMA:
        return None
    lows, highs = [], []
    for tissue in _PARENCHYMA[organ]:
        plain, spread = float(MEAN_HU["noncontrast"][tissue]), float(SPREAD_HU[tissue])
        strongest = max(float(MEAN_HU[phase][tissue]) for phase in PHASES)
        lows.append(plain - 3 * spread)
        highs.append(plain + _STRONGEST * (strongest - plain) + 3 * spread)
    return min(*lows, _STEATOSIS_HU) if organ == "liver" else min(lows), max(highs)
