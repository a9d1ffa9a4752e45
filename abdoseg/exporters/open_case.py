"""Opening a labelmap on disk for export, with its scan, ground truth, DICOM series and run record."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from abdoseg.anatomy.organs import BY_NAME, MAIN
from abdoseg.errors import GeometryError, UsageError
from abdoseg.exporters import EXPORTERS, SCAN
from abdoseg.exporters.job import ExportOptions, Job
from abdoseg.image.volume import Labelmap, Stored, Volume
from abdoseg.image.volumetry import boxes
from abdoseg.io import read_labels, read_scan
from abdoseg.io.dicom.label_objects import is_label_object
from abdoseg.io.formats import format_of
from abdoseg.io.labels import mask_of
from abdoseg.io.read import read_grid
from abdoseg.io.record import read_record, recorded_case

logger = logging.getLogger("abdoseg")


@dataclass(frozen=True)
class CaseFiles:
    """Paths of the files that belong to a labelmap. Each is one file, or a folder of files named by case.

    scheme, truth_scheme: what the numbers in label files mean; None is what the record says, or ours.
    several: more than one case shares these paths.
    """

    scheme: str | None = None
    scan: Path | None = None
    truth: Path | None = None
    truth_scheme: str = "abdoseg"
    reference: Path | None = None
    several: bool = False


def case_of(path: Path) -> str:
    """The case that a labelmap is of, by its name."""
    return recorded_case(path)


def open_case(path: Path, files: CaseFiles, formats: Sequence[str], options: ExportOptions) -> Job:
    """Reads a labelmap, or a folder of masks, and what the formats need besides.

    Raises ScanError, GeometryError when grids differ, UsageError.
    """
    case = case_of(path)
    record = read_record(path)
    scheme = files.scheme or record.get("labels")
    if scheme is None and not path.is_dir() and not is_label_object(path):
        logger.warning(
            "%s: no %s.json beside it says what its numbers mean; taken as abdoseg's (%s). --labels names others",
            path, case, ", ".join(f"{BY_NAME[organ].label} {organ}" for organ in MAIN),
        )  # fmt: skip
    scan_path = _recorded_scan(path, record) if files.scan is None else path_of_case(files.scan, case, files.several)
    grid = None
    if is_label_object(path):
        place = scan_path if files.reference is None else path_of_case(files.reference, case, files.several)
        grid = None if place is None else read_grid(place, series=options.series, gaps=options.gaps)
    labelmap = _masks(path) if path.is_dir() else _labelmap(path, scheme, record, grid)
    scan = truth = None
    shown = any(SCAN in EXPORTERS[name].needs for name in formats)
    if shown and scan_path is None:
        what = f"its scan {record['scan']} is not there any more" if "scan" in record else "its scan is not known"
        logger.warning("%s: %s; name it with --scan to have it in pictures and tables", path, what)
    if shown and scan_path is not None:
        scan = read_scan(scan_path, series=options.series, gaps=options.gaps)
        _check_grid(scan_path, scan, path, labelmap)
    if files.truth is not None:
        truth_path = path_of_case(files.truth, case, files.several or files.truth.is_dir())
        truth = read_labels(truth_path, files.truth_scheme)
        _check_grid(truth_path, truth, path, labelmap)
    reference = scan_path if scan_path is not None and format_of(scan_path) == "DICOM" else None
    if files.reference is not None:
        reference = path_of_case(files.reference, case, files.several)
        if format_of(reference) != "DICOM":
            raise UsageError(f"{reference}: no DICOM; --reference is the series that was segmented")
    job = Job.measured(case, labelmap, scan, truth=truth, reference=reference, record=record, options=options)
    for row in job.rows:
        if not row.voxels:
            logger.warning("%s: %s was not found; it has no mesh, and 0 in tables", path, row.organ)
    return job


def _labelmap(path: Path, scheme: str | None, record: Mapping[str, Any], grid: Stored | None) -> Labelmap:
    """A label file. Its organs: those that are there, and those that were looked for as far as one can know."""
    labelmap = read_labels(path, scheme or "abdoseg", grid=grid)
    sought = record.get("model", {}).get("organs", MAIN)
    there = boxes(labelmap.labels)
    organs = {label: name for label, name in labelmap.organs.items() if name in sought or label in there}
    return replace(labelmap, organs=organs)


def _masks(folder: Path) -> Labelmap:
    """A folder of masks, each named as its organ, as TotalSegmentator writes them; where two meet the later wins."""
    files = {name: file for name in BY_NAME for file in sorted(folder.glob(f"{name}.nii*"))[:1]}
    if not files:
        raise UsageError(
            f"{folder}: no masks named as organs, such as liver.nii.gz, in this folder; "
            f"labelmaps in it are named one by one, as {folder}/*_seg.nii.gz"
        )
    together: Labelmap | None = None
    for name, file in files.items():
        mask = read_labels(file, mask_of(name))
        if together is None:
            together = replace(mask, organs={BY_NAME[other].label: other for other in files})
        else:
            _check_grid(file, mask, folder, together)
            together = replace(together, labels=np.where(mask.labels > 0, mask.labels, together.labels))
    assert together is not None
    return together


def _check_grid(path: Path, one: Volume | Labelmap, other_path: Path, other: Volume | Labelmap) -> None:
    if not one.geometry.matches(other.geometry):
        sizes = [f"{x.geometry.shape} at {x.geometry.spacing_mm.round(3).tolist()} mm" for x in (one, other)]
        raise GeometryError(
            f"{path}: its grid, {sizes[0]}, does not lie on that of {other_path}, {sizes[1]}; "
            "name the files that belong together"
        )


def _recorded_scan(path: Path, record: Mapping[str, Any]) -> Path | None:
    """The scan named in the record, when it is still there."""
    name = record.get("scan")
    found = path.parent / name if isinstance(name, str) else None
    return found if found is not None and found.exists() else None


def path_of_case(path: Path, case: str, several: bool) -> Path:
    """`path` itself or, when it is a folder, what in it is named as the case; for several cases there must be one."""
    if not path.is_dir():
        if several:
            raise UsageError(f"{path}: one file cannot belong to several cases; name a folder of files by case")
        return path
    for inside in sorted(path.iterdir()):
        if case_of(inside) == case:
            return inside
    if several:
        raise UsageError(f"{path}: nothing in this folder is named {case}")
    return path
