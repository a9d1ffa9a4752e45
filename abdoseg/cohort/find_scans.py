"""Scan discovery: the CT scans below a path, as NIfTI, MetaImage and NRRD files, DICOM studies and zips of these."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from abdoseg.errors import AbdosegError, ScanError
from abdoseg.io import case_name
from abdoseg.io.archive import Entry, entries
from abdoseg.io.scan_source import ScanSource
from abdoseg.runtime.threads import cores
from abdoseg.training.data.layouts import detect_layout

if TYPE_CHECKING:
    from abdoseg.io.dicom.headers import Slice
    from abdoseg.io.dicom.series import Series

LOG = logging.getLogger("abdoseg")
SCAN_FILES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
# Files beside scans that no reader need look into; what else has no suffix of SCAN_FILES may be DICOM.
OTHER_FILES = (".raw", ".zraw", ".img", ".img.gz", ".hdr", ".hdr.gz", ".csv", ".tsv", ".json", ".jsonl", ".txt", ".md",
               ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".mp4", ".xml", ".html", ".xlsx", ".docx", ".stl", ".ply",
               ".obj", ".glb", ".log", ".py", ".sh", ".exe", ".dll", ".inf", ".npy", ".npz")  # fmt: skip
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
SAMPLES = 4  # files of a folder whose headers say whether it holds more than one study


@dataclass(frozen=True)
class FoundScan:
    """A scan and how it is read.

    path: what `read_scan` reads. member: the file in it, where it is a zip of scan files. series: a SeriesInstanceUID,
    where the path holds more than the one to read. place: names the case, unless `case` does; for members in the zip.
    series_number: DICOM's, '' where there is none. series_uid: what tells that two are the same; None for files.
    """

    path: Path
    place: Path
    member: str | None = None
    series: str | None = None
    series_number: str = ""
    series_uid: str | None = None
    case: str | None = None

    @property
    def source(self) -> ScanSource:
        """How it is read."""
        return ScanSource.one_of(self.path, self.member, self.series)


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
        found += _studies(path, candidates, all_series, alone=not found)
    return sorted(found, key=_by_name) or [FoundScan(path, path)]


def _by_name(scan: FoundScan) -> tuple[str, ...]:
    """By folders, then by names without suffixes: `ct.nii.gz` before `ct (copy).nii.gz`."""
    return (*scan.place.parts[:-1], case_name(scan.place), scan.place.name)


def without_duplicates(scans: Sequence[FoundScan]) -> tuple[list[FoundScan], list[tuple[FoundScan, FoundScan]]]:
    """The scans that are the only or the first of their kind, and the others, each with the one that it repeats.

    DICOM series are the same when their SeriesInstanceUID is; files when grid and voxels are. Voxels are read only of
    files whose grid another one has, too.
    """
    keys: list[object] = [scan.series_uid for scan in scans]
    grids: dict[object, list[int]] = defaultdict(list)
    for number, scan in enumerate(scans):
        if scan.series_uid is None:
            with suppress(AbdosegError):  # what cannot be read will say why when it is its turn
                geometry = scan.source.grid(assume_axes=True).geometry
                grids[(geometry.shape, geometry.affine.round(3).tobytes())].append(number)
    for numbers in grids.values():
        if len(numbers) > 1:
            for number in numbers:
                keys[number] = _voxel_digest(scans[number])
    first: dict[object, FoundScan] = {}
    repeated = []
    for scan, key in zip(scans, keys, strict=True):
        other = first.setdefault(scan if key is None else key, scan)
        if other is not scan:
            repeated.append((scan, other))
    again = {id(scan) for scan, _ in repeated}
    return [scan for scan in scans if id(scan) not in again], repeated


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
        series = _series(_read_headers(others).slices)
        found += [
            scan if len(series) > 1 else replace(scan, series=None, place=path)
            for scan in _chosen(path, series, all_series)
        ]
    return found or [FoundScan(path, path)]


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part.startswith(".") or part in SYSTEM_FOLDERS for part in parts)


def _studies(root: Path, candidates: dict[Path, list[Entry]], all_series: bool, alone: bool) -> list[FoundScan]:
    """The DICOM scans among files that may be DICOM, by folder.

    A few headers of each folder tell whether all are of one study; only where they are not, or all series are wanted,
    every header is read. alone: nothing else was found below the root.
    """
    if alone and not all_series and len(_study_uids(candidates)) == 1:
        return [FoundScan(root, root)]
    headers = _read_headers([entry for files in candidates.values() for entry in files])
    unread = [folder for folder, files in candidates.items() if headers.unread.issuperset(files)]
    if headers.others:
        kinds = "; ".join(f"{count} {kind}" for kind, count in headers.others.most_common())
        LOG.warning("%s: DICOM files that are no slices of a CT are left out: %s", root, kinds)
    found = _chosen(root, _series(headers.slices), all_series)
    places = {folder for scan in found for folder in (scan.place, *scan.place.parents)}
    found += [FoundScan(folder, folder) for folder in unread if folder not in places]  # reading them will say why
    return found or ([FoundScan(root, root)] if alone else [])


def _study_uids(candidates: dict[Path, list[Entry]]) -> set[str]:
    sampled = []
    for files in candidates.values():
        step = max(1, (len(files) - 1) // (SAMPLES - 1))
        sampled += files[::step]
    return {piece.attributes["StudyInstanceUID"] for piece in _read_headers(sampled).slices}


@dataclass(frozen=True)
class _Headers:
    """What the headers of files say. others: DICOM that is no slice of a CT, by kind. unread: the system refused."""

    slices: list[Slice]
    others: Counter[str]
    unread: set[Entry]


def _read_headers(files: Sequence[Entry]) -> _Headers:
    """The CT slices among the files, without their headers, which take more memory than all else, and the others."""
    from pydicom.dataset import Dataset

    from abdoseg.io.dicom.headers import NOT_DICOM, NotASliceError, read_slices

    empty = Dataset()

    def read(entry: Entry) -> list[Slice] | str | None:
        try:
            return [replace(piece, header=empty) for piece in read_slices(entry)]
        except NotASliceError as reason:
            return str(reason)
        except ScanError:
            return None

    with ThreadPoolExecutor(min(8, cores())) as pool:
        results = list(pool.map(read, files))
    slices = [piece for pieces in results if isinstance(pieces, list) for piece in pieces]
    others = Counter(kind for kind in results if isinstance(kind, str) and kind not in (NOT_DICOM, "DICOMDIR"))
    return _Headers(slices, others, {entry for entry, result in zip(files, results, strict=True) if result is None})


def _series(slices: Sequence[Slice]) -> list[tuple[Series, ...]]:
    """The series of each study, the best first. A study that lies in two places is two, the second after the first."""
    from abdoseg.io.dicom.series import sort_series

    places: dict[tuple[str, str], list[Slice]] = defaultdict(list)
    for piece in slices:
        folder = PurePosixPath(piece.entry.name.replace("\\", "/")).parent
        places[piece.attributes["SeriesInstanceUID"], str(folder)].append(piece)
    studies: dict[tuple[str, int], list[Slice]] = defaultdict(list)
    copies: dict[object, int] = defaultdict(int)
    for (uid, _), pieces in places.items():
        alike = uid, frozenset((*piece.position.round(2), *piece.attributes.values()) for piece in pieces)
        studies[pieces[0].attributes["StudyInstanceUID"], copies[alike]] += pieces
        copies[alike] += 1
    sorted_series = (sort_series(study)[0] for study in studies.values())
    return [series for series in sorted_series if series]


def _chosen(root: Path, studies: Sequence[tuple[Series, ...]], all_series: bool) -> list[FoundScan]:
    """The series to read of each study. Where a folder holds one study alone, its path says enough."""
    folders = [_folder([piece for series in study for piece in series.slices]) for study in studies]
    found = []
    for number, (study, folder) in enumerate(zip(studies, folders, strict=True)):
        shared = any(
            folder in (other, *other.parents) or other in folder.parents
            for other in folders[:number] + folders[number + 1 :]
        )
        by_uid = {series.uid: series for series in reversed(study)}  # of stacks with one UID, the best
        wanted = [series for series in study if by_uid[series.uid] is series][: None if all_series else 1]
        for series in wanted:
            several = all_series and len(wanted) > 1
            place = root / (_folder(series.slices) if shared else folder)
            in_zip = root.is_file()
            found.append(
                FoundScan(
                    root if in_zip else place,
                    root.with_suffix("") / place.relative_to(root) if in_zip else place,
                    series=series.uid if shared or several or in_zip else None,
                    series_number=series.slices[0].attributes["SeriesNumber"],
                    series_uid=series.uid,
                )
            )
    return found


def _folder(slices: Sequence[Slice]) -> PurePosixPath:
    """The innermost folder that holds all slices, from the root."""
    parents = {PurePosixPath(piece.entry.name.replace("\\", "/")).parent.parts for piece in slices}
    common = takewhile(lambda level: len(set(level)) == 1, zip(*parents, strict=False))
    return PurePosixPath(*(level[0] for level in common))


def _voxel_digest(scan: FoundScan) -> str | None:
    """SHA-256 of the voxels in HU; None where they cannot be read."""
    with suppress(AbdosegError):
        return hashlib.sha256(scan.source.read(assume_axes=True).voxels.tobytes(order="A")).hexdigest()
    return None
