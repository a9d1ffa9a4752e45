"""Scan reading: any supported file or folder to one canonical Volume in HU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from abdoseg.errors import ScanError
from abdoseg.image.hounsfield import BEYOND, HuAccumulator, HuStatistics, hu_statistics, raise_padding, why_not_hu
from abdoseg.image.volume import Stored, Volume, nearest_axes
from abdoseg.io.formats import detect_format, is_folder, read_image
from abdoseg.io.image_file import (
    GridCheck,
    accept_any_grid,
    apply_scale,
    non_finite_clause,
    non_finite_notes,
    padding_notes,
)
from abdoseg.io.limits import check_extent
from abdoseg.io.nifti.reader import VoxelLayout, read_layout, read_planes
from abdoseg.runtime.gzip_stream import OpenedFile, open_decompressed

MUCH_METAL = 0.001  # of the voxels: 50 ml in a picture of 50 l; a fiftieth is refused as no HU
SUFFIXES = (".nii.gz", ".hdr.gz", ".img.gz", ".nii", ".hdr", ".img", ".mha", ".mhd", ".nrrd", ".nhdr", ".zip", ".dcm")


def read_scan(
    path: str | Path,
    *,
    series: str | None = None,
    gaps: str = "auto",
    assume_axes: bool = False,
    check_grid: GridCheck = accept_any_grid,
) -> Volume:
    """Reads a CT in HU: NIfTI, .mha, .nrrd, or DICOM, as a file or alone in a folder or zip. Padding becomes air.

    Args:
        path: the scan.
        series: a number from 1, as `abdoseg info` lists them, or a SeriesInstanceUID, when a folder holds several CTs.
        gaps: fail, fill or split, for missing slices; auto fills, but refuses a slice that has another matrix.
        assume_axes: take a NIfTI that does not say where its axes point as left, anterior, superior.
        check_grid: called with the scan's grid before its voxels are read; what it raises is raised here.

    Raises:
        ScanError: when it cannot be read, or is not in HU.
        SeriesError: when a folder holds no CT series, or several to choose from.
        ResourceError: when memory is not enough.
        UsageError: for an unknown word in `gaps`.
    """
    path = Path(path)
    image = read_image(path, assume_axes, check_grid)
    if image is None:
        from abdoseg.io.dicom.reader import read_dicom  # what `info` on a NIfTI need not wait for
        from abdoseg.io.dicom.series import NoSeriesError

        try:
            volume = read_dicom(path, series=series, gaps=gaps, check_grid=check_grid)
        except NoSeriesError as error:
            image = read_image(path, assume_axes, check_grid, *error.images) if len(error.images) == 1 else None
            if image is None:
                raise
    if image is not None:
        _check_slices(path, image.stored)
        canonical = image.stored.to_canonical(image.voxels)
        volume = Volume(canonical, image.stored.canonical(), image.stored, image.notes, image.details)
    return with_checked_hu(str(path), volume)


def with_checked_hu(name: str, volume: Volume) -> Volume:
    """The volume with padding as air, in place, and what its voxels say of themselves in its details.

    name: of the scan, for messages. Raises ScanError when it is larger than any CT, or the voxels are not HU.
    """
    check_extent(name, volume.geometry)
    statistics = hu_statistics(volume.voxels)
    if statistics.padding:
        raise_padding(volume.voxels)
    return replace(
        volume,
        notes=volume.notes + padding_notes(statistics.padding) + _metal_notes(statistics),
        details=volume.details | _hu_details(name, statistics, volume.notes),
    )


class _GridFoundError(Exception):
    """Ends the reading of a scan when its grid is known."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored


def read_grid(path: Path, *, series: str | None = None, gaps: str = "auto", assume_axes: bool = False) -> Stored:
    """The grid that `read_scan` reads a scan on, from its headers alone. Raises as it does."""

    def stop(stored: Stored) -> None:
        raise _GridFoundError(stored)

    try:
        return read_scan(path, series=series, gaps=gaps, assume_axes=assume_axes, check_grid=stop).stored
    except _GridFoundError as found:
        return found.stored


@dataclass(frozen=True, eq=False)
class ScanSummary:
    """A Volume without its voxels: `stored` says where they lie, the rest is as there."""

    stored: Stored
    notes: tuple[str, ...]
    details: dict[str, Any]


def inspect_scan(
    path: Path, *, series: str | None = None, gaps: str = "auto", assume_axes: bool = False
) -> ScanSummary | Volume:
    """What `read_scan` finds out about a scan. A NIfTI file passes through memory some planes at a time.

    Raises what `read_scan` raises.
    """
    if not is_folder(path):
        with open_decompressed(path) as file:
            if detect_format(file) == "NIfTI":
                layout = read_layout(file, assume_axes)
                if layout.path == path:
                    return _summarise(layout, file)
    return read_scan(path, series=series, gaps=gaps, assume_axes=assume_axes)


def _summarise(layout: VoxelLayout, file: OpenedFile) -> ScanSummary:
    """The summary of a NIfTI file whose header has been read. Raises ScanError, ResourceError."""
    _check_slices(layout.path, layout.stored)
    backward = [sign < 0 for _, sign in nearest_axes(layout.stored.geometry.affine)]
    accumulator, bad = HuAccumulator(layout.shape[::-1], backward[::-1]), 0
    for first, numbers in read_planes(layout, file, accumulator.depth):
        hu, more = apply_scale(numbers, *layout.scale)
        accumulator.add(first, hu.T)
        bad += more
    statistics = accumulator.statistics()
    notes = layout.notes + non_finite_notes(bad) + padding_notes(statistics.padding) + _metal_notes(statistics)
    return ScanSummary(layout.stored, notes, layout.details | _hu_details(str(layout.path), statistics, notes))


def _check_slices(path: Path, stored: Stored) -> None:
    if 1 in stored.geometry.shape:
        size = " x ".join(map(str, stored.geometry.shape))
        raise ScanError(f"{path}: only one slice ({size}); a volume of at least 2 slices is needed")


def _metal_notes(statistics: HuStatistics) -> tuple[str, ...]:
    """The note on more voxels beyond the usual scale than small implants have; none when there are fewer."""
    if statistics.beyond <= MUCH_METAL:
        return ()
    note = (
        f"{statistics.beyond:.1%} of the voxels are above {BEYOND} HU, up to {statistics.high:g}: metal on an extended "
        "scale, or pixels that overflowed in their encoding; look at the scan"
    )
    return (note,)


def _hu_details(name: str, statistics: HuStatistics, notes: Sequence[str]) -> dict[str, Any]:
    """The details that the voxels give. Raises ScanError when they are not HU."""
    if reason := why_not_hu(statistics):
        raise ScanError(f"{name}: {reason}{non_finite_clause(notes)}; give the CT in HU, as converted from its DICOM")
    return {"hu_range": [statistics.low, statistics.high], "tissue_fraction": round(statistics.tissue, 3)}


def case_name(path: str | Path) -> str:
    """The name of a case: of its file or folder, without suffixes and without nnU-Net's `_0000`.

    What is not UTF-8 in it, as in names that an old system wrote, is an underscore.
    """
    path = Path(path)
    name = as_utf_8(path.name if path.name not in ("", "..") else path.resolve().name)
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s) and len(name) > len(s)), "")
    name = name[: len(name) - len(suffix)]
    return name.removesuffix("_0000") or name


def as_utf_8(name: str) -> str:
    """The name with an underscore for each byte that is not UTF-8."""
    return re.sub(r"[\ud800-\udfff]", "_", name)
