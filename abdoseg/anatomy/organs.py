"""Organs: names, label numbers, SNOMED CT codes, colours, surface Dice tolerances."""

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
LESION = "liver_tumour"  # the kind that is measured, exported and followed
LESIONS: tuple[str, ...] = tuple(organ.name for organ in ORGANS if organ.is_lesion)
MAIN: tuple[str, ...] = ("liver", "kidney_right", "kidney_left", "spleen")
MIRRORED: Mapping[str, str] = MappingProxyType(
    {
        "kidney_right": "kidney_left",
        "kidney_left": "kidney_right",
        "adrenal_gland_right": "adrenal_gland_left",
        "adrenal_gland_left": "adrenal_gland_right",
    }
)


def host_of(lesion: str) -> str:
    """The organ that a lesion lies in.

    >>> host_of("liver_tumour")
    'liver'
    """
    return lesion.rsplit("_", 1)[0]


def title_of(organ: str) -> str:
    """An organ's name for people, in tables and in running text.

    >>> title_of("kidney_right"), title_of("inferior_vena_cava")
    ('right kidney', 'inferior vena cava')
    """
    for side in ("right", "left"):
        if organ.endswith(f"_{side}"):
            return f"{side} {organ.removesuffix(f'_{side}')}".replace("_", " ")
    return organ.replace("_", " ")
