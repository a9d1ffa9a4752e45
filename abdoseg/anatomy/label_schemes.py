"""Label schemes: which number in a label file means which organ, in public datasets and in JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from abdoseg.anatomy.organs import ORGANS
from abdoseg.errors import DatasetError, UsageError

# A scheme maps the numbers in a dataset's label files to organ names. "kidney" is both kidneys in one label:
# it is split by side through the affine. Names outside ORGANS are read, kept apart and never delivered.
Scheme = Mapping[int, str]
KNOWN_NAMES = frozenset(organ.name for organ in ORGANS) | {"kidney"}  # that numbers and structures may have
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
    Raises UsageError for a name that is not in SCHEMES.
    """
    if scheme not in SCHEMES:
        raise UsageError(f"no label scheme {scheme!r}; there are {', '.join(SCHEMES)}")
    numbers = {name: number for number, name in SCHEMES[scheme].items()}
    if "kidney" in numbers:
        numbers |= {"kidney_right": numbers["kidney"], "kidney_left": numbers["kidney"]}
    if "liver" in numbers:
        numbers.setdefault("liver_tumour", numbers["liver"])
    return {organ.name: numbers[organ.name] for organ in ORGANS if organ.name in numbers}


def find_scheme(scheme: str | Scheme) -> Scheme:
    """A label scheme by its name in SCHEMES or from a JSON file; a Scheme is returned as it is.

    Raises:
        UsageError: there is neither such a name nor such a file.
        DatasetError: the file cannot be read, or holds no scheme.
    """
    if not isinstance(scheme, str):
        return scheme
    if scheme in SCHEMES:
        return SCHEMES[scheme]
    path = Path(scheme)
    if not path.is_file():
        raise UsageError(f"no label scheme {scheme!r}; there are {', '.join(SCHEMES)}, or give a JSON file")
    try:
        return parse_scheme(path.read_text(encoding="utf-8"), scheme)
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{scheme}: the label scheme cannot be read ({error})") from error


def parse_scheme(text: str, source: str) -> Scheme:
    """A scheme in JSON: {"liver": 1}, {"1": "liver"}, or either under "labels" as in MSD's dataset.json.

    Names of DICOM structures in it, {"ROI-1": "liver"}, are passed over: see `find_structures`.

    Args:
        text: the JSON.
        source: what to call it in a message.

    Raises:
        DatasetError: it holds no scheme.
    """
    try:
        content = json.loads(text)
        labels = content.get("labels", content)
        structures = _structures(labels)
        scheme = _numbered({key: value for key, value in labels.items() if key not in structures})
    except (ValueError, AttributeError, TypeError) as error:
        raise DatasetError(
            f'{source}: no scheme of labels ({error}); write JSON such as {{"liver": 1, "spleen": 3}}'
        ) from error
    if not scheme and not structures:
        raise DatasetError(f'{source}: the label scheme is empty; write JSON such as {{"liver": 1, "spleen": 3}}')
    return scheme


def find_structures(scheme: str | Scheme) -> dict[str, str]:
    """The organs of a DICOM object's names in a JSON file such as {"ROI-1": "liver"}; none of any other scheme."""
    if not isinstance(scheme, str) or scheme in SCHEMES:
        return {}
    try:
        content = json.loads(Path(scheme).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # told where the scheme is read
        return {}
    return _structures(content) if isinstance(content, dict) else {}


def _structures(content: Mapping[str, Any]) -> dict[str, str]:
    """The pairs of a name and an organ of ours."""
    named = {key: organ_name(value) for key, value in content.items() if isinstance(value, str) and not key.isdigit()}
    return {key: organ for key, organ in named.items() if organ in KNOWN_NAMES}


def contradictions(scheme: Scheme, stated: Scheme, numbers: Collection[int] | None = None) -> str:
    """The numbers that two schemes give other organs of ours, in words; empty where they agree.

    numbers: those that count, all if not given.

    >>> contradictions({1: "spleen", 2: "kidney_right"}, {1: "liver", 2: "kidney_right"})
    '1 is liver, not spleen'
    """
    apart = [
        f"{number} is {stated[number]}, not {scheme[number]}"
        for number in sorted(set(scheme) & set(stated))
        if scheme[number] != stated[number] and KNOWN_NAMES & {scheme[number], stated[number]}
        if numbers is None or number in numbers
    ]
    return ", ".join(apart[:3]) + (f", and {len(apart) - 3} more" if len(apart) > 3 else "")


def is_scheme(text: str) -> bool:
    """Whether a JSON file beside labels names their numbers; others hold acquisition parameters."""
    try:
        content = json.loads(text)
    except ValueError:
        return False
    return bool(content) and isinstance(content, dict) and all(type(value) is int for value in content.values())


def _numbered(content: Mapping[str, Any]) -> Scheme:
    """Numbers to names from either direction; region lists of nnU-Net are no scheme."""
    pairs = {}
    for key, value in content.items():
        number, name = (int(key), str(value)) if str(key).isdigit() else (int(value), str(key))
        if number > 0 and name.lower() != "background":
            pairs[number] = organ_name(name)
    return pairs


# How datasets call what we call otherwise, letters only and in lower case.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "cancer": "liver_tumour", "tumor": "liver_tumour", "tumour": "liver_tumour", "livertumor": "liver_tumour",
        "livertumour": "liver_tumour", "rightkidney": "kidney_right", "kidneyright": "kidney_right",
        "leftkidney": "kidney_left", "kidneyleft": "kidney_left", "kidneys": "kidney", "arota": "aorta",
        "postcava": "inferior_vena_cava", "ivc": "inferior_vena_cava", "inferiorvenacava": "inferior_vena_cava",
        "rightadrenalgland": "adrenal_gland_right", "adrenalglandright": "adrenal_gland_right", "rag":
        "adrenal_gland_right", "leftadrenalgland": "adrenal_gland_left", "adrenalglandleft": "adrenal_gland_left",
        "lag": "adrenal_gland_left", "oesophagus": "esophagus", "bladder": "urinary_bladder",
    }
)  # fmt: skip


def organ_name(name: str) -> str:
    """A structure's name as TotalSegmentator writes it, as far as an alias is known.

    >>> organ_name("Right Kidney"), organ_name("gall bladder"), organ_name("rib_left_7")
    ('kidney_right', 'gallbladder', 'rib_left_7')
    """
    letters = re.sub(r"[^a-z]", "", name.lower())
    if letters == "gallbladder":
        return "gallbladder"
    return ALIASES.get(letters, re.sub(r"[\s-]+", "_", name.strip()).lower())
