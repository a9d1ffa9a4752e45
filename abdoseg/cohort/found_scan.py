"""A scan that was found and how it is read, and which of several are the same."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from abdoseg.errors import AbdosegError
from abdoseg.io.scan_source import ScanSource


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


def _voxel_digest(scan: FoundScan) -> str | None:
    """SHA-256 of the voxels in HU; None where they cannot be read."""
    with suppress(AbdosegError):
        return hashlib.sha256(scan.source.read(assume_axes=True).voxels.tobytes(order="A")).hexdigest()
    return None
