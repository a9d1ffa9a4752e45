"""The run record CASE.json beside a labelmap: what its numbers mean, and how it came to be."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abdoseg.anatomy.label_schemes import SCHEMES, Scheme, is_scheme, parse_scheme
from abdoseg.errors import DatasetError
from abdoseg.io.label_table import header_scheme
from abdoseg.io.read import case_name

logger = logging.getLogger("abdoseg")


def read_record(labelmap: Path) -> dict[str, Any]:
    """The record beside CASE_seg.nii.gz; empty when there is none, or when the file is another tool's."""
    path = labelmap.parent / f"{recorded_case(labelmap)}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s: the record cannot be read (%s); going on without it", path, error)
        return {}
    ours = isinstance(found, dict) and isinstance(found.get("versions"), dict) and "abdoseg" in found["versions"]
    return found if ours else {}


def needs_review(record: Mapping[str, Any]) -> bool:
    """Whether a person should look at a case: the scan or one of its organs is in doubt.

    An organ that the scan cuts is none: it is marked incomplete.
    """
    in_doubt = record.get("scan_warnings", record.get("warnings"))  # without the former in records of version 0.2
    return bool(in_doubt) or any(found.get("reasons") for found in record.get("quality", {}).values())


def recorded_labelmaps(path: Path) -> list[Path]:
    """The labelmaps that a record CASE.json or a folder of results stands for; the path alone where it is neither."""
    if path.suffix.lower() == ".json":
        candidates = [path.with_name(f"{path.stem}_seg.nii.gz")]
    else:
        candidates = sorted(path.glob("*_seg.nii.gz")) if path.is_dir() else []
    return [labelmap for labelmap in candidates if labelmap.exists() and read_record(labelmap)] or [path]


def stated_scheme(labels: Path) -> tuple[Path, Scheme] | None:
    """The file that says what a label file's numbers mean, and what it says; None when there is none.

    CASE.json of ours beside CASE_seg.nii.gz, or a JSON file of the label file's name with organs and numbers, or the
    label file itself in its header.
    """
    if beside := _scheme_beside(labels):
        return beside
    own = header_scheme(labels)
    return (labels, own) if own else None


def _scheme_beside(labels: Path) -> tuple[Path, Scheme] | None:
    path = labels.parent / f"{recorded_case(labels)}.json"
    try:
        text = path.read_text(encoding="utf-8")
        if is_scheme(text):
            return path, parse_scheme(text, str(path))
        content = json.loads(text)
        name = content.get("labels") if "versions" in content else None
    except (OSError, ValueError, AttributeError, TypeError, DatasetError):
        return None
    return (path, SCHEMES[name]) if isinstance(name, str) and name in SCHEMES else None


def recorded_case(labelmap: Path) -> str:
    """The case that a labelmap is of, by its name.

    >>> recorded_case(Path("out/scan_seg.nii.gz"))
    'scan'
    """
    return case_name(labelmap).removesuffix("_seg") or case_name(labelmap)
