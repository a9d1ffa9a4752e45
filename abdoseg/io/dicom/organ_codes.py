"""Organ names of DICOM segments and structures, from their labels and from SNOMED CT or SRT codes.

Source: DICOM PS3.3, C.8.20.2 (segment description), 10.5 (anatomic region); PS3.16, CID 244 (laterality).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from abdoseg.anatomy.label_schemes import KNOWN_NAMES, organ_name
from abdoseg.anatomy.organs import BY_NAME, LATERALITY, ORGANS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

NOTHING: Mapping[str, str] = MappingProxyType({})
# By number a segment's or structure's label, coded type and region; see `name_segment`.
Described = Mapping[int, tuple[str, "Dataset | None", "Dataset | None"]]
SIDED_CODES = {"9846003": "kidney_right", "18639004": "kidney_left"}  # SCT: right kidney, left kidney structure
# SCT: neoplasm, mass, lesion, primary and secondary malignant neoplasm.
LESION_CODES = ("108369006", "4147007", "52988006", "86049000", "14799000")


# Words of structures' names, and what they say. Source: AAPM TG-263 (2018), doi:10.1016/j.ijrobp.2017.12.013, table 4.
SIDES = {"r": "right", "rt": "right", "right": "right", "l": "left", "lt": "left", "left": "left"}
LOOSE_NAMES = {"a aorta": "aorta", "v venacava i": "inferior_vena_cava", "glnd adrenal": "adrenal_gland",
               "kidneys": "kidney", "gall bladder": "gallbladder", "oesophagus": "esophagus"}  # fmt: skip


def name_segments(described: Described, known: Mapping[str, str]) -> dict[int, str]:
    """Number to organ name of a DICOM object's segments or structures, in our spelling where the organ is ours.

    A name that only resembles an organ's, such as Liver_1 or kidney r, counts where no other is named for that organ.

    Args:
        described: the segments or structures.
        known: organs of labels, as the user says.
    """
    names = {number: known.get(item[0]) or name_segment(*item) for number, item in described.items()}
    taken = {*names.values()}
    for number, (label, *_) in described.items():
        resembled = _resembled(label)
        if names[number] not in BY_NAME and resembled and resembled not in taken:
            names[number] = resembled
    return names


def _resembled(label: str) -> str | None:
    """The organ that a name without its numbers, case, punctuation and side's spelling is of; None for any other.

    >>> _resembled("Liver_1"), _resembled("kidney r"), _resembled("Lt Kidney"), _resembled("PTV liver")
    ('liver', 'kidney_right', 'kidney_left', None)
    """
    words = re.findall(r"[a-z]+", label.lower())
    sides = {SIDES[word] for word in words if word in SIDES}
    bare = " ".join(word for word in words if word not in SIDES)
    organ = LOOSE_NAMES.get(bare, bare.replace(" ", "_"))
    if len(sides) == 1:
        organ = f"{organ}_{sides.pop()}"
    return organ if organ in KNOWN_NAMES else None


def name_segment(label: str, kind: Dataset | None, region: Dataset | None = None) -> str:
    """The organ's name in our spelling; 'kidney' without a side, or the label itself when no organ is known by it.

    The label decides when it names an organ of ours, otherwise the code does.

    Args:
        label: the segment's label or the structure's name.
        kind: the coded type, whose modifiers may give the side.
        region: the coded anatomic region, for lesions.
    """
    named = organ_name(label)
    if named in BY_NAME or kind is None:
        return named
    for code, name in SIDED_CODES.items():
        if _is_code(kind, code):
            return name
    if any(_is_code(kind, code) for code in LESION_CODES):
        return "liver_tumour" if region is not None and _is_code(region, BY_NAME["liver"].snomed.value) else named
    side = _side(kind) or _side(region)
    matching = [organ for organ in ORGANS if _is_code(kind, organ.snomed.value)]
    for organ in matching:
        if organ.side is None or organ.side == side:
            return organ.name
    return "kidney" if any(organ.name.startswith("kidney") for organ in matching) else named


def _is_code(item: Dataset, code: str) -> bool:
    """Whether a coded item is that concept of SNOMED CT, stated as such or in SRT."""
    from pydicom.sr.coding import Code

    stated = Code(str(item.get("CodeValue", "")), str(item.get("CodingSchemeDesignator", "")), "")
    return bool(stated == Code(code, "SCT", ""))


def _side(item: Dataset | None) -> str | None:
    """The side that an item's modifiers give."""
    if item is None:
        return None
    for keyword in ("SegmentedPropertyTypeModifierCodeSequence", "AnatomicRegionModifierSequence"):
        for modifier in item.get(keyword) or ():
            for side, code in LATERALITY.items():
                if _is_code(modifier, code.value):
                    return side
    return None
