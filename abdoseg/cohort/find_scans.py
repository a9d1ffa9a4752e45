"""Scan discovery: the CT scans below a path, as NIfTI, MetaImage and NRRD files, DICOM studies and zips of these."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from abdoseg.cohort.dicom_studies import studies_below, studies_in_zip
from abdoseg.cohort.found_scan import FoundScan
from abdoseg.errors import ScanError
from abdoseg.io import case_name
from abdoseg.io.archive import Entry, entries
from abdoseg.training.data.layouts import detect_layout

LOG = logging.getLogger("abdoseg")
SCAN_FILES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
# Files beside scans that no reader need look into; what else has no suffix of SCAN_FILES may be DICOM.
OTHER_FILES = (".raw", ".zraw", ".img", ".img.gz", ".hdr", ".hdr.gz", ".csv", ".tsv", ".json", ".jsonl", ".txt", ".md",
               ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".mp4", ".xml", ".html", ".xlsx", ".docx", ".stl", ".ply",
               ".obj", ".glb", ".log", ".py", ".sh", ".exe", ".dll", ".inf", ".npy", ".npz")  # fmt: skip
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")


def find_scans(path: Path, all_series: bool = False, skip: Path | None = None) -> list[FoundScan]:
    """The scans below a path, by place; the path itself where it is a file, or nothing better is known of it.

    What cannot be looked into stands for itself: reading it will say why. Of each DICOM study the series is chosen that
    `read_scan` would choose in its folder.

    Args:
        path: A file, zip or folder.
        all_series: Every CT series of a study, in place of the best one.
        skip: A folder that is passed over: where results go.
    """
    if not path.is_dir():
        return _in_zip(path, all_series) if path.name.lower().endswith(".zip") else [FoundScan(path, path)]
    files_found: list[Path] = []
    found: list[FoundScan] = []
    candidates: dict[Path, list[Entry]] = {}
    for folder, files in _walk(path, skip):
        if files is None:
            found.append(FoundScan(folder, folder))
            continue
        for file in files:
            name = file.name.lower()
            if name.endswith(SCAN_FILES):
                files_found += [] if _is_result(file) else [file]
            elif name.endswith(".zip"):
                found += _in_zip(file, all_series)
            elif name.endswith(OTHER_FILES):
                continue
            elif file.is_symlink() and not file.exists():  # a folder that is not mounted, perhaps
                found.append(FoundScan(file, file))
            elif entry := _entry(file, path):
                candidates.setdefault(folder, []).append(entry)
    without = _without_labels(path, [file.relative_to(path).as_posix() for file in files_found])
    found += [FoundScan(path / name, path / name) for name in without]
    if candidates:
        found += studies_below(path, candidates, all_series, alone=not found)
    return sorted(found, key=_by_name) or [FoundScan(path, path)]


def _by_name(scan: FoundScan) -> tuple[str, ...]:
    """By folders, then by names without suffixes: `ct.nii.gz` before `ct (copy).nii.gz`."""
    return (*scan.place.parts[:-1], case_name(scan.place), scan.place.name)


def _walk(root: Path, skip: Path | None) -> Iterator[tuple[Path, list[Path] | None]]:
    """Each folder with its files, both in order of name; None in place of files where it may not be entered.

    Hidden files and folders are passed over, links followed once.
    """
    skipped = skip.resolve() if skip and skip.resolve() != root.resolve() else None
    refused: list[Path] = []
    status = root.stat()
    seen = {(status.st_dev, status.st_ino)}
    for top, folders, files in os.walk(root, followlinks=True, onerror=lambda error: refused.append(_named(error))):
        folder = Path(top)
        kept = []
        for name in sorted(folders):
            try:
                status = (folder / name).stat()
            except OSError:
                continue
            identity = status.st_dev, status.st_ino
            hidden = name.startswith(".") or name in SYSTEM_FOLDERS
            if not hidden and identity not in seen and (skipped is None or (folder / name).resolve() != skipped):
                seen.add(identity)
                kept.append(name)
        folders[:] = kept
        yield folder, [folder / name for name in sorted(files) if not name.startswith(".")]
    for folder in refused:
        yield folder, None


def _named(error: OSError) -> Path:
    return Path(error.filename)


def _entry(file: Path, root: Path) -> Entry | None:
    """The file as the readers of DICOM have it, which opening may refuse; None for pipes, devices and what is empty."""
    try:
        status = file.stat()
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    except OSError:
        size = 1
    return Entry(str(file.relative_to(root)), size, lambda: file.open("rb")) if size else None


def _without_labels(path: Path, names: Sequence[str]) -> list[str]:
    """The files that are no labels of others, by the layouts of datasets: images and labels, NAME_ct and NAME_seg."""
    labels = {name for case in detect_layout(names).cases if case.image is not None for name in case.labels}
    if labels:
        LOG.warning("%s: labels beside their scans are left out (%d), such as %s", path, len(labels), min(labels))
    return [name for name in names if name not in labels]


def _is_result(file: Path) -> bool:
    """Whether a file is a labelmap that a run left among the scans."""
    stem, found, _ = file.name.rpartition("_seg.nii")
    return bool(found) and (file.parent / f"{stem}.json").exists()


def _in_zip(path: Path, all_series: bool) -> list[FoundScan]:
    """The scans in a zip; the zip itself where it holds one study alone, or cannot be looked into."""
    try:
        members = [entry for entry in entries(path) if not _is_hidden(entry.name)]
    except ScanError:
        return [FoundScan(path, path)]
    files = [entry.name for entry in members if entry.name.lower().endswith(SCAN_FILES)]
    place = path.with_suffix("")
    found = [
        FoundScan(path, place.joinpath(*PurePosixPath(name.replace("\\", "/")).parts), name)
        for name in _without_labels(path, files)
    ]
    others = [entry for entry in members if not entry.name.lower().endswith((*SCAN_FILES, *OTHER_FILES))]
    if others:
        found += studies_in_zip(path, others, all_series)
    return found or [FoundScan(path, path)]


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part.startswith(".") or part in SYSTEM_FOLDERS for part in parts)
