"""Label schemes of public datasets: which number in a label file means which organ."""

from collections.abc import Mapping
from types import MappingProxyType

from abdoseg.anatomy.organs import ORGANS

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
