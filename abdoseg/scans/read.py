"""Any scan in, one canonical Volume out; label files to one canonical Labelmap."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from abdoseg.anatomy import BY_NAME, SCHEMES, Scheme
from abdoseg.errors import ScanError
from abdoseg.scans.nifti import read_nifti
from abdoseg.volume import Array, Geometry, Labelmap, Stored, Volume

logger = logging.getLogger("abdoseg")
AIR = -1024
SUFFIXES = (
    ".nii.gz",
    ".nii",
    ".hdr.gz",
    ".hdr",
    ".img.gz",
    ".img",
    ".mha",
    ".mhd",
    ".nrrd",
    ".nhdr",
    ".zip",
    ".dcm",
    ".gz",
)
ITK = (".mha", ".mhd", ".nrrd", ".nhdr")


def read_scan(
    path: str | Path,
    *,
    series: str | None = None,
    gaps: str = "fill",
    assume_axes: bool = False,
    keep: Sequence[str] = (),
) -> Volume:
    """Reads a CT, whatever it comes as: NIfTI, .mha, .nrrd, a DICOM folder, zip or file.

    series: number (from 1, as `abdoseg info` lists them) or SeriesInstanceUID, when a folder holds several CTs.
    gaps: fail, fill or split, for missing slices. keep: DICOM attributes, by keyword, whose values are wanted in
    `details["kept"]`; identity is kept by nothing else. Raises ScanError, SeriesError, ResourceError.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind == "nifti":
        file = read_nifti(path, assume_axes)
        volume = _volume(file.array, file.stored, file.notes, file.details)
    elif kind == "itk":
        array, stored, notes, details = _read_itk(path)
        volume = _volume(array, stored, notes, details)
    else:
        from abdoseg.scans.dicom import read_dicom

        volume = read_dicom(path, series=series, gaps=gaps, keep=keep)
    return volume


def read_labels(path: str | Path, scheme: str | Scheme = "abdoseg") -> Labelmap:
    """Reads a label file (NIfTI, .mha, .nrrd) and gives its organs our numbers, by name.

    scheme: a name in SCHEMES, or label to organ name. Labels of organs that are not ours become background.
    Raises ScanError, ResourceError.
    """
    path = Path(path)
    names: Scheme = SCHEMES[scheme] if isinstance(scheme, str) else scheme
    if kind_of(path) == "nifti":
        file = read_nifti(path)
        array, stored = file.array, file.stored
    else:
        array, stored, _, _ = _read_itk(path)
    values = _whole_numbers(path, array)
    table = np.zeros(int(values.max()) + 1, np.uint8)
    for number, name in names.items():
        if number < len(table) and name in BY_NAME:
            table[number] = BY_NAME[name].label
    geometry = stored.canonical()
    labels = stored.to_canonical(table[values])
    organs = {BY_NAME[name].label: name for name in names.values() if name in BY_NAME}
    for number, name in names.items():
        if name == "kidney":
            labels = _split_kidneys(labels, stored.to_canonical(values == number), geometry)
            organs |= {BY_NAME[side].label: side for side in ("kidney_right", "kidney_left")}
    known = set(names) | {0}
    strange = [int(n) for n in np.unique(values) if int(n) not in known]
    if strange:
        logger.warning("%s: %d labels are not in its scheme and are left out: %s", path, len(strange), strange[:8])
    return Labelmap(labels, geometry, stored, dict(sorted(organs.items())))


def _split_kidneys(labels: Array, mask: Array, geometry: Geometry) -> Array:
    """Gives one label for both kidneys two: right and left of the middle between the outermost voxels.

    A single kidney (less than 100 mm wide together) belongs to the side of the grid's middle on which it lies.
    """
    columns = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(columns):
        return labels
    wide = (columns[-1] - columns[0]) * geometry.spacing_mm[0] > 100
    middle = (columns[0] + columns[-1]) / 2 if wide else (geometry.shape[0] - 1) / 2
    right = (
        np.arange(geometry.shape[0])[:, None, None] > middle
        if wide
        else np.full((1, 1, 1), (columns[0] + columns[-1]) / 2 > middle)
    )
    out = labels.copy()
    out[mask & right] = BY_NAME["kidney_right"].label
    out[mask & ~right] = BY_NAME["kidney_left"].label
    return out


def _whole_numbers(path: Path, array: Array) -> Array:
    """The array as small unsigned integers. Raises ScanError when it holds anything else."""
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 65535:
        raise ScanError(f"{path}: values from {low:g} to {high:g} are no label numbers; is this a scan?")
    values = array.astype(np.uint8 if high < 256 else np.uint16)
    if array.dtype.kind == "f" and not np.array_equal(values, array):
        raise ScanError(f"{path}: a label map holds whole numbers, this file has fractions; is this a scan?")
    return values


def kind_of(path: Path) -> str:
    """'nifti', 'itk' or 'dicom', by what the file holds, not by its suffix alone. Raises ScanError."""
    if not path.exists():
        raise ScanError(f"{path}: no such file or folder")
    if path.is_dir():
        return "dicom"
    name = path.name.lower()
    if name.endswith(ITK):
        return "itk"
    if name.endswith((".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")):
        return "nifti"
    return "dicom"


def case_name(path: str | Path) -> str:
    """The name of a case: file or folder without suffixes and without nnU-Net's `_0000`."""
    name = Path(path).resolve().name if str(path) in (".", "..") else Path(path).name
    lower = name.lower()
    for suffix in SUFFIXES:
        if lower.endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
            break
    return name.removesuffix("_0000") or name


def _volume(array: Array, stored: Stored, notes: tuple[str, ...], details: dict[str, Any]) -> Volume:
    return Volume(stored.to_canonical(array), stored.canonical(), stored, notes, details)


def _read_itk(path: Path) -> tuple[Array, Stored, tuple[str, ...], dict[str, Any]]:
    """.mha, .mhd, .nrrd and .nhdr, through SimpleITK. Its axes are LPS; ours RAS."""
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ScanError(f"{path}: cannot be read ({str(error).strip().splitlines()[-1]})") from error
    array = sitk.GetArrayFromImage(image).T
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    affine[:2] *= -1
    return array, Stored(Geometry(array.shape, affine)), (), {"format": path.suffix[1:].upper()}
