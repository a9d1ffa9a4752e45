"""Opening a labelmap on disk for export, with its scan, ground truth, DICOM series and run record."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from abdoseg.anatomy.label_schemes import Scheme
from abdoseg.anatomy.organs import BY_NAME, MAIN
from abdoseg.errors import GeometryError, UsageError
from abdoseg.exporters import EXPORTERS, SCAN
from abdoseg.exporters.job import ExportOptions, Job
from abdoseg.image.volume import Labelmap, Stored, Volume
from abdoseg.image.volumetry import boxes
from abdoseg.io import read_labels
from abdoseg.io.dicom.label_objects import is_label_object
from abdoseg.io.labels import mask_of
from abdoseg.io.record import read_record, recorded_case, stated_scheme
from abdoseg.io.scan_source import ScanSource

logger = logging.getLogger("abdoseg")
READING = ("series", "gaps", "assume_axes")  # arguments of `read_scan` by which a scan is found as it was read


@dataclass(frozen=True)
class CaseFiles:
    """Paths of the files that belong to a labelmap. Each is one file, or a folder of files named by case.

    scheme, truth_scheme: what the numbers in label files mean; None is what the record or the header says, or ours.
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
    stated = stated_scheme(path)
    scheme = files.scheme or (stated[1] if stated else None)
    source = _scan_source(path, record, files, options)
    reference = _reference_source(case, source, files, options)
    on = reference or source
    grid = on.grid() if on is not None and is_label_object(path) else None
    labelmap = _masks(path) if path.is_dir() else _labelmap(path, scheme, record, grid)
    if scheme is None and not path.is_dir() and not is_label_object(path):
        logger.warning(
            "%s: neither its header nor %s.json beside it says what its numbers mean; taken as abdoseg's (%s). "
            "--labels names others",
            path, case, ", ".join(f"{BY_NAME[organ].label} {organ}" for organ in MAIN),
        )  # fmt: skip
    scan = truth = None
    shown = any(SCAN in EXPORTERS[name].needs for name in formats)
    if shown and source is None:
        what = f"its scan {record['scan']} is not there any more" if "scan" in record else "its scan is not known"
        logger.warning("%s: %s; name it with --scan to have it in pictures and tables", path, what)
    if shown and source is not None:
        scan = source.read()
        _check_grid(source.path, scan, path, labelmap)
    if files.truth is not None:
        truth_path = path_of_case(files.truth, case, files.several or files.truth.is_dir())
        truth = read_labels(truth_path, files.truth_scheme)
        _check_grid(truth_path, truth, path, labelmap)
    if reference is not None:
        options = replace(options, series=reference.reading.get("series"), gaps=reference.reading.get("gaps", "auto"))
    lies_on = None if reference is None else reference.path
    job = Job.measured(case, labelmap, scan, truth=truth, reference=lies_on, record=record, options=options)
    for row in job.rows:
        if not row.voxels and not BY_NAME[row.organ].is_lesion:  # a liver may well have no tumour
            logger.warning("%s: %s was not found; it has no mesh, and 0 in tables", path, row.organ)
    return job


def _labelmap(path: Path, scheme: str | Scheme | None, record: Mapping[str, Any], grid: Stored | None) -> Labelmap:
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


def _scan_source(path: Path, record: Mapping[str, Any], files: CaseFiles, options: ExportOptions) -> ScanSource | None:
    """The scan that was named, or that the record names, read as it was for the labelmap; None when it is not there."""
    flags = _reading(options)
    if files.scan is not None:
        return ScanSource(path_of_case(files.scan, case_of(path), files.several), reading=flags)
    name, member = record.get("scan"), record.get("member")
    found = path.parent / name if isinstance(name, str) else None
    if found is None or not found.exists():
        return None
    recorded = {**record.get("reading", {}), "series": record.get("input", {}).get("series_digest")}
    return ScanSource(found, member, {name: recorded[name] for name in READING if recorded.get(name)} | flags)


def _reference_source(
    case: str, source: ScanSource | None, files: CaseFiles, options: ExportOptions
) -> ScanSource | None:
    """The DICOM series that was named, or the scan where it is one; None when there is none. Raises UsageError."""
    if files.reference is None:
        return source if source is not None and source.is_dicom else None
    reference = ScanSource(path_of_case(files.reference, case, files.several), reading=_reading(options))
    if not reference.is_dicom:
        raise UsageError(f"{reference.path}: no DICOM; --reference is the series that was segmented")
    return reference


def _reading(options: ExportOptions) -> dict[str, Any]:
    """The arguments of `read_scan` that were given."""
    given = {"series": options.series, "gaps": options.gaps if options.gaps != "auto" else None}
    return {name: value for name, value in given.items() if value is not None}


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
