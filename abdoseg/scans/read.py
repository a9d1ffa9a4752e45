"""Any scan in, one canonical Volume in HU out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from abdoseg.errors import ScanError
from abdoseg.scans.pixels import AIR
from abdoseg.scans.plausible import values_of, why_not_hu
from abdoseg.scans.scan_file import Admit, anything
from abdoseg.scans.sniff import kind_of, read_file
from abdoseg.volume import Volume

SUFFIXES = (".nii.gz", ".hdr.gz", ".img.gz", ".nii", ".hdr", ".img", ".mha", ".mhd", ".nrrd", ".nhdr", ".zip", ".dcm")


def read_scan(
    path: str | Path,
    *,
    series: str | None = None,
    gaps: str = "fill",
    assume_axes: bool = False,
    admit: Admit = anything,
) -> Volume:
    """Reads a CT, whatever it comes as: NIfTI, .mha, .nrrd, or DICOM as a folder, a zip or a file.

    series: a number from 1, as `abdoseg info` lists them, or a SeriesInstanceUID, when a folder holds several CTs.
    gaps: fail, fill or split, for missing slices. assume_axes: take a NIfTI that does not say where its axes point as
    left, anterior, superior. admit: is asked with the scan's grid before its voxels are read, and may raise.
    What is not in HU is refused, padding becomes air.
    Raises ScanError, SeriesError, ResourceError, UsageError.
    """
    path = Path(path)
    if kind_of(path) == "DICOM":
        from abdoseg.scans.dicom import read_dicom  # what `info` on a NIfTI need not wait for

        volume = read_dicom(path, series=series, gaps=gaps, admit=admit)
    else:
        file = read_file(path, assume_axes, admit)
        if 1 in file.array.shape:
            size = " x ".join(map(str, file.array.shape))
            raise ScanError(f"{path}: only one slice ({size}); a volume of at least 2 slices is needed")
        canonical = file.stored.to_canonical(file.array)
        volume = Volume(canonical, file.stored.canonical(), file.stored, file.notes, file.details)
    values = values_of(volume.voxels, least=AIR)
    if reason := why_not_hu(values):
        raise ScanError(f"{path}: {reason}; give the CT in HU, as converted from its DICOM")
    seen = {"hu_range": [values.low, values.high], "tissue_share": round(values.tissue, 3)}
    return replace(volume, details={**volume.details, **seen})


def case_name(path: str | Path) -> str:
    """The name of a case: of its file or folder, without suffixes and without nnU-Net's `_0000`."""
    path = Path(path)
    name = path.name or path.resolve().name
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s) and len(name) > len(s)), "")
    name = name[: len(name) - len(suffix)]
    return name.removesuffix("_0000") or name
