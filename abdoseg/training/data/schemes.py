"""Label schemes from what datasets bring along: a name, a JSON file, MSD's dataset.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from abdoseg.anatomy.label_schemes import SCHEMES, Scheme
from abdoseg.errors import DatasetError

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


def scheme_named(name: str) -> Scheme:
    """A scheme of SCHEMES, or one in a JSON file. Raises DatasetError when it is neither."""
    if name in SCHEMES:
        return SCHEMES[name]
    path = Path(name)
    if not path.is_file():
        raise DatasetError(f"{name}: no label scheme and no file; known are {', '.join(SCHEMES)}, or give a JSON file")
    return parse_scheme(path.read_text(encoding="utf-8"), name)


def parse_scheme(text: str, source: str) -> Scheme:
    """{"liver": 1}, {"1": "liver"}, or either under "labels" as in MSD's dataset.json. Raises DatasetError."""
    try:
        content = json.loads(text)
        scheme = _numbered(content.get("labels", content))
    except (ValueError, AttributeError, TypeError) as error:
        raise DatasetError(
            f'{source}: no label scheme ({error}); write JSON such as {{"liver": 1, "spleen": 3}}'
        ) from error
    if not scheme:
        raise DatasetError(f'{source}: the label scheme is empty; write JSON such as {{"liver": 1, "spleen": 3}}')
    return scheme


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
