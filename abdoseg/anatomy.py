"""Organs, their labels in the schemes of public datasets, SNOMED CT codes and colours: one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Side = Literal["right", "left"]


@dataclass(frozen=True)
class Code:
    """A coded concept. Source: DICOM PS3.16, coding scheme SCT."""

    value: str
    meaning: str


@dataclass(frozen=True)
class Organ:
    """One row of ORGANS.

    label: the number in our labelmaps. snomed: the structure; its laterality follows from `side`.
    colour: sRGB, 0 to 255. nsd_tolerance_mm: the surface Dice tolerance of the FLARE challenges.
    """

    label: int
    name: str
    snomed: Code
    colour: tuple[int, int, int]
    side: Side | None = None
    nsd_tolerance_mm: float = 3.0

    @property
    def laterality(self) -> Code | None:
        """Source: DICOM PS3.16, CID 244 Laterality."""
        return None if self.side is None else LATERALITY[self.side]

    @property
    def is_lesion(self) -> bool:
        """A lesion lies inside an organ and may be in many pieces."""
        return self.snomed is NEOPLASM


LATERALITY: Mapping[Side, Code] = MappingProxyType(
    {"right": Code("24028007", "Right"), "left": Code("7771000", "Left")}
)
KIDNEY = Code("64033007", "Kidney")
ADRENAL = Code("23451007", "Adrenal gland")
NEOPLASM = Code("108369006", "Neoplasm")

# Names are TotalSegmentator's; tolerances are those of the FLARE22 evaluation.
ORGANS: tuple[Organ, ...] = (
    Organ(1, "liver", Code("10200004", "Liver"), (221, 130, 101), nsd_tolerance_mm=5.0),
    Organ(2, "kidney_right", KIDNEY, (86, 156, 214), "right"),
    Organ(3, "kidney_left", KIDNEY, (64, 224, 208), "left"),
    Organ(4, "spleen", Code("78961009", "Spleen"), (157, 108, 162)),
    Organ(5, "liver_tumour", NEOPLASM, (240, 220, 60)),
    Organ(6, "pancreas", Code("15776009", "Pancreas"), (249, 180, 111), nsd_tolerance_mm=5.0),
    Organ(7, "aorta", Code("15825003", "Aorta"), (224, 60, 60), nsd_tolerance_mm=2.0),
    Organ(8, "inferior_vena_cava", Code("64131007", "Inferior vena cava"), (60, 90, 200), nsd_tolerance_mm=2.0),
    Organ(9, "adrenal_gland_right", ADRENAL, (244, 186, 150), "right", nsd_tolerance_mm=2.0),
    Organ(10, "adrenal_gland_left", ADRENAL, (214, 160, 120), "left", nsd_tolerance_mm=2.0),
    Organ(11, "gallbladder", Code("28231008", "Gallbladder"), (139, 190, 90), nsd_tolerance_mm=2.0),
    Organ(12, "esophagus", Code("32849002", "Esophagus"), (211, 171, 143)),
    Organ(13, "stomach", Code("69695003", "Stomach"), (216, 132, 155), nsd_tolerance_mm=5.0),
    Organ(14, "duodenum", Code("38848004", "Duodenum"), (255, 200, 160), nsd_tolerance_mm=7.0),
)
BY_NAME: Mapping[str, Organ] = MappingProxyType({organ.name: organ for organ in ORGANS})
MAIN: tuple[str, ...] = ("liver", "kidney_right", "kidney_left", "spleen")
MIRRORED: Mapping[str, str] = MappingProxyType(
    {
        "kidney_right": "kidney_left",
        "kidney_left": "kidney_right",
        "adrenal_gland_right": "adrenal_gland_left",
        "adrenal_gland_left": "adrenal_gland_right",
    }
)

# A scheme maps the numbers in a dataset's label files to organ names. "kidney" is both kidneys in one label:
# it is split by side through the affine. Names outside ORGANS are read, kept apart and never delivered.
Scheme = Mapping[int, str]
_FLARE22 = {
    1: "liver", 2: "kidney_right", 3: "spleen", 4: "pancreas", 5: "aorta", 6: "inferior_vena_cava",
    7: "adrenal_gland_right", 8: "adrenal_gland_left", 9: "gallbladder", 10: "esophagus", 11: "stomach",
    12: "duodenum", 13: "kidney_left",
}  # fmt: skip
_BTCV = {
    1: "spleen", 2: "kidney_right", 3: "kidney_left", 4: "gallbladder", 5: "esophagus", 6: "liver", 7: "stomach",
    8: "aorta", 9: "inferior_vena_cava", 10: "portal_vein_and_splenic_vein", 11: "pancreas",
    12: "adrenal_gland_right", 13: "adrenal_gland_left",
}  # fmt: skip
_AMOS = {
    1: "spleen", 2: "kidney_right", 3: "kidney_left", 4: "gallbladder", 5: "esophagus", 6: "liver", 7: "stomach",
    8: "aorta", 9: "inferior_vena_cava", 10: "pancreas", 11: "adrenal_gland_right", 12: "adrenal_gland_left",
    13: "duodenum", 14: "urinary_bladder", 15: "prostate",
}  # fmt: skip
_TOTALSEG = {
    1: "spleen", 2: "kidney_right", 3: "kidney_left", 4: "gallbladder", 5: "liver", 6: "stomach", 7: "pancreas",
    8: "adrenal_gland_right", 9: "adrenal_gland_left", 15: "esophagus", 18: "small_bowel", 19: "duodenum",
    20: "colon", 51: "heart", 52: "aorta", 63: "inferior_vena_cava", 64: "portal_vein_and_splenic_vein",
}  # fmt: skip
SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "abdoseg": {organ.label: organ.name for organ in ORGANS},
        "flare22": _FLARE22,
        "flare21": {1: "liver", 2: "kidney", 3: "spleen", 4: "pancreas"},
        "totalseg": _TOTALSEG,
        "btcv": _BTCV,
        "amos": _AMOS,
        "msd-liver": {1: "liver", 2: "liver_tumour"},
        "kits": {1: "kidney", 2: "kidney_tumour", 3: "kidney_cyst"},
    }
)


def numbers_in(scheme: str) -> dict[str, int]:
    """The number that a scheme gives each of our organs, for those it has.

    A scheme with one number for both kidneys gives it to each; one without tumours counts them to their organ.
    """
    numbers = {name: number for number, name in SCHEMES[scheme].items()}
    if "kidney" in numbers:
        numbers |= {"kidney_right": numbers["kidney"], "kidney_left": numbers["kidney"]}
    if "liver" in numbers:
        numbers.setdefault("liver_tumour", numbers["liver"])
    return {organ.name: numbers[organ.name] for organ in ORGANS if organ.name in numbers}
