"""Any scan in, one canonical Volume in HU out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from abdoseg.errors import ScanError
from abdoseg.image.hounsfield import HuAccumulator, HuStatistics, hu_statistics, why_not_hu
from abdoseg.image.volume import Stored, Volume, nearest_axes
from abdoseg.io.dicom.pixels import AIR
from abdoseg.io.formats import kind_of, read_file
from abdoseg.io.image_file import GridCheck, accept_any_grid, no_numbers, scaled
from abdoseg.io.nifti.reader import planes, voxel_data
from abdoseg.runtime.gzip_stream import PrefetchedStream

SUFFIXES = (".nii.gz", ".hdr.gz", ".img.gz", ".nii", ".hdr", ".img", ".mha", ".mhd", ".nrrd", ".nhdr", ".zip", ".dcm")


def read_scan(
    path: str | Path,
    *,
    series: str | None = None,
    gaps: str = "fill",
    assume_axes: bool = False,
    check_grid: GridCheck = accept_any_grid,
) -> Volume:
    """Reads a CT, whatever it comes as: NIfTI, .mha, .nrrd, or DICOM as a folder, a zip or a file.

    series: a number from 1, as `abdoseg info` lists them, or a SeriesInstanceUID, when a folder holds several CTs.
    gaps: fail, fill or split, for missing slices. assume_axes: take a NIfTI that does not say where its axes point as
    left, anterior, superior. check_grid: is asked with the scan's grid before its voxels are read, and may raise.
    What is not in HU is refused, padding becomes air.
    Raises ScanError, SeriesError, ResourceError, UsageError.
    """
    path = Path(path)
    if kind_of(path) == "DICOM":
        from abdoseg.io.dicom.reader import read_dicom  # what `info` on a NIfTI need not wait for

        volume = read_dicom(path, series=series, gaps=gaps, check_grid=check_grid)
    else:
        file = read_file(path, assume_axes, check_grid)
        _check_slices(path, file.stored)
        canonical = file.stored.to_canonical(file.array)
        volume = Volume(canonical, file.stored.canonical(), file.stored, file.notes, file.details)
    return replace(volume, details=volume.details | _seen(path, hu_statistics(volume.voxels, least=AIR)))


@dataclass(frozen=True, eq=False)
class ScanSummary:
    """A Volume without its voxels: `stored` says where they lie, the rest is as there."""

    stored: Stored
    notes: tuple[str, ...]
    details: dict[str, Any]


def inspect_scan(
    path: Path,
    prefetched: PrefetchedStream | None = None,
    *,
    series: str | None = None,
    gaps: str = "fill",
    assume_axes: bool = False,
) -> ScanSummary | Volume:
    """What `read_scan` finds out.

    prefetched: has begun to read the file. A NIfTI only passes through then: in memory are some planes. Raises what
    `read_scan` raises.
    """
    if prefetched is not None and kind_of(path) == "NIfTI":
        file = voxel_data(path, assume_axes)
        if file.path == path:
            _check_slices(path, file.stored)
            backward = [sign < 0 for _, sign in nearest_axes(file.stored.geometry.affine)]
            tally, bad = HuAccumulator(file.shape[::-1], backward[::-1], AIR), 0
            for first, numbers in planes(file, prefetched, tally.depth):
                hu, more = scaled(numbers, *file.scale)
                tally.add(first, hu.T)
                bad += more
            return ScanSummary(file.stored, file.notes + no_numbers(bad), file.details | _seen(path, tally.values()))
    return read_scan(path, series=series, gaps=gaps, assume_axes=assume_axes)


def _check_slices(path: Path, stored: Stored) -> None:
    if 1 in stored.geometry.shape:
        size = " x ".join(map(str, stored.geometry.shape))
        raise ScanError(f"{path}: only one slice ({size}); a volume of at least 2 slices is needed")


def _seen(path: Path, values: HuStatistics) -> dict[str, Any]:
    """The details that the values give. Raises ScanError when they are not HU."""
    if reason := why_not_hu(values):
        raise ScanError(f"{path}: {reason}; give the CT in HU, as converted from its DICOM")
    return {"hu_range": [values.low, values.high], "tissue_fraction": round(values.tissue, 3)}


def case_name(path: str | Path) -> str:
    """The name of a case: of its file or folder, without suffixes and without nnU-Net's `_0000`."""
    path = Path(path)
    name = path.name or path.resolve().name
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s) and len(name) > len(s)), "")
    name = name[: len(name) - len(suffix)]
    return name.removesuffix("_0000") or name
