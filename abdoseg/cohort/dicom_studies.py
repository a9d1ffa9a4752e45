"""DICOM studies among files of any kind, and of each the series to read."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from abdoseg.cohort.found_scan import FoundScan
from abdoseg.errors import ScanError
from abdoseg.io.archive import Entry
from abdoseg.runtime.threads import cores

if TYPE_CHECKING:
    from abdoseg.io.dicom.headers import Slice
    from abdoseg.io.dicom.series import Series

LOG = logging.getLogger("abdoseg")
SAMPLES = 4  # files of a folder whose headers say whether it holds more than one study


def studies_below(root: Path, candidates: dict[Path, list[Entry]], all_series: bool, alone: bool) -> list[FoundScan]:
    """The DICOM scans among files that may be DICOM, which are given by folder.

    A few headers of each folder tell whether all are of one study; only where they are not, or all series are wanted,
    every header is read. alone: nothing else was found below the root.
    """
    if alone and not all_series and len(_study_uids(candidates)) == 1:
        return [FoundScan(root, root)]
    headers = _read_headers([entry for files in candidates.values() for entry in files])
    unread = [folder for folder, files in candidates.items() if headers.unread.issuperset(files)]
    if headers.others:
        from abdoseg.io.dicom.series import counted

        kinds = counted(headers.others.most_common())
        LOG.warning("%s: DICOM files that are no slices of a CT are left out: %s", root, kinds)
    found = _chosen(root, _studies(headers.slices), all_series)
    places = {folder for scan in found for folder in (scan.place, *scan.place.parents)}
    found += [FoundScan(folder, folder) for folder in unread if folder not in places]  # reading them will say why
    return found or ([FoundScan(root, root)] if alone else [])


def studies_in_zip(path: Path, members: Sequence[Entry], all_series: bool) -> list[FoundScan]:
    """The DICOM scans among a zip's members that may be DICOM; where they are one study, the zip names it."""
    studies = _studies(_read_headers(members).slices)
    found = _chosen(path, studies, all_series)
    if len(studies) > 1:
        return found
    return [replace(scan, place=path, series=scan.series if len(found) > 1 else None) for scan in found]


def _study_uids(candidates: dict[Path, list[Entry]]) -> set[str]:
    """The StudyInstanceUIDs in a few headers of each folder."""
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


def _studies(slices: Sequence[Slice]) -> list[tuple[Series, ...]]:
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
    in_zip = root.is_file()
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
            place = (root.with_suffix("") if in_zip else root) / (_folder(series.slices) if shared else folder)
            found.append(
                FoundScan(
                    root if in_zip else place,
                    place,
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
