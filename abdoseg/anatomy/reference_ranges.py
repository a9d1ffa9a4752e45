"""Reference ranges: organ volumes of healthy adults and newborns, and mean HU of organs in any phase."""

from __future__ import annotations

from collections.abc import Mapping

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
# Grams, and so nearly millilitres, of a newborn's organ. Source: ICRP Publication 89, reference masses.
NEWBORN_ML: Mapping[str, float] = {"liver": 130, "spleen": 9.5, "kidney_right": 12.5, "kidney_left": 12.5}
_PARENCHYMA: Mapping[str, tuple[Tissue, ...]] = {
    "liver": (Tissue.LIVER,),
    "spleen": (Tissue.SPLEEN,),
    "kidney_right": (Tissue.KIDNEY_CORTEX, Tissue.KIDNEY_MEDULLA),
    "kidney_left": (Tissue.KIDNEY_CORTEX, Tissue.KIDNEY_MEDULLA),
}
_STRONGEST = 1.75  # times the usual enhancement: two deviations of what dose, weight and circulation make of it
_STEATOSIS_HU = 32.0 - 3 * 14.0  # a liver of severe steatosis; its source is in `tissues`


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
