"""Label map reading: any label file to a Labelmap with our numbers, mapped by organ name from any scheme."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from abdoseg.anatomy.label_schemes import Scheme, contradictions, find_scheme, find_structures
from abdoseg.anatomy.organs import BY_NAME
from abdoseg.errors import ScanError
from abdoseg.image.volume import Array, Geometry, Labelmap, Stored, labels_in
from abdoseg.io.formats import read_image
from abdoseg.io.image_file import ImageFile, non_finite_clause

logger = logging.getLogger("abdoseg")
ROUNDING = 1e-3  # what a scale factor in single precision, such as 0.1, may leave beside a whole number
BOTH_KIDNEYS_MM = 100.0  # one kidney is at most 80 mm wide; two, with the spine between them, are wider


def read_labels(
    path: str | Path,
    scheme: str | Scheme = "abdoseg",
    *,
    warn: bool = True,
    grid: Stored | None = None,
    structures: Mapping[str, str] | None = None,
) -> Labelmap:
    """Reads labels, NIfTI, .mha, .nrrd, DICOM SEG or RTSTRUCT, and gives their organs our numbers, by name.

    Args:
        path: a file; of DICOM also a folder or zip that holds one SEG or RTSTRUCT.
        scheme: what the numbers mean: a name or JSON file, or label to organ name. DICOM objects name their organs
            themselves, by label and code, or a JSON file says them: {"ROI-1": "liver"}. Organs that are not ours
            become background.
        warn: log labels that the scheme does not have, which are left out.
        grid: for DICOM objects, the grid to draw on in place of that of their own series.
        structures: organs of a DICOM object's names, in place of those in the scheme's JSON file.

    Raises:
        ScanError: when it cannot be read, or holds no labels.
        ResourceError: when memory is not enough.
        UsageError: when there is no such scheme.
        DatasetError: when the scheme's file is damaged.
        GeometryError: when contours do not lie in the grid's slices.
    """
    path = Path(path)
    names = find_scheme(scheme)
    image = read_image(path, assume_axes=False)
    if image is None:
        from abdoseg.io.dicom.label_objects import read_label_object

        known = find_structures(scheme) if structures is None else structures
        values, stored, names = read_label_object(path, grid, known)
    else:
        values, stored = _whole_numbers(path, image), image.stored
    present = labels_in(values)
    if image is not None and isinstance(scheme, str):
        _warn_of_contradictions(path, scheme, names, present)
    unknown = sorted(set(present) - set(names))
    if unknown and warn:
        logger.warning("%s: labels %s are not in its scheme and are left out", path, ", ".join(map(str, unknown[:12])))
    ours = {number: BY_NAME[names[number]].label for number in present if names.get(number) in BY_NAME}
    if values.dtype != np.uint8 or any(ours.get(number) != number for number in present):
        table = np.zeros(max(present, default=0) + 1, np.uint8)
        table[list(ours)] = list(ours.values())
        labels = table[values]
    else:
        labels = values  # the numbers are ours already
    values, labels = (stored.to_canonical(array) for array in (values, labels))
    geometry = stored.canonical()
    organs = {BY_NAME[name].label: name for name in names.values() if name in BY_NAME}
    for number, name in names.items():
        if name == "kidney":
            _split_kidneys(labels, values == number, geometry)
            organs |= {BY_NAME[side].label: side for side in ("kidney_right", "kidney_left")}
    return Labelmap(labels, geometry, stored, dict(sorted(organs.items())), tuple(unknown))


def _warn_of_contradictions(path: Path, scheme: str, names: Scheme, present: Collection[int]) -> None:
    """Says where the labels' header or a file beside them gives their numbers other organs than the named scheme."""
    from abdoseg.io.record import stated_scheme

    stated = stated_scheme(path)
    if stated and (apart := contradictions(names, stated[1], present)):
        source = "its own header" if stated[0] == path else f"{stated[0].name} beside it"
        logger.warning("%s: read as %s, but %s says that %s", path, scheme, source, apart)


def mask_of(organ: str) -> Scheme:
    """The scheme of a mask of one organ: 1, or 255 as programs for pictures have it."""
    return {1: organ, 255: organ}


def read_label_numbers(path: Path) -> tuple[Array, Stored]:
    """The numbers of a label file in its own axes, (I, J, K) uint8 or uint16, and its grid.

    Raises:
        ScanError: when it cannot be read, is DICOM, or holds anything but whole numbers from 0 to 65535.
        ResourceError: when memory is not enough.
    """
    image = read_image(path, assume_axes=False)
    if image is None:
        raise ScanError(f"{path}: DICOM, where a NIfTI, .mha or .nrrd file is needed")
    return _whole_numbers(path, image), image.stored


def _whole_numbers(path: Path, image: ImageFile) -> Array:
    """The voxels as small unsigned integers. Raises ScanError when they are anything else."""
    array = image.voxels
    low, high = float(array.min()), float(array.max())
    if not (low >= -ROUNDING and high <= 65535):
        also = non_finite_clause(image.notes)
        raise ScanError(f"{path}: values from {low:g} to {high:g} are no label numbers{also}; is this a scan?")
    dtype = np.uint8 if high < 255.5 else np.uint16
    if array.dtype.kind != "f":
        return array.astype(dtype, copy=False)
    values = np.rint(array).astype(dtype)
    if np.abs(array - values).max() > ROUNDING:
        raise ScanError(f"{path}: a label map holds whole numbers, this file has fractions; is this a scan?")
    return values


def _split_kidneys(labels: Array, mask: Array, geometry: Geometry) -> None:
    """Gives one label for both kidneys two, in place: right and left of the middle between the outermost voxels.

    A kidney that is alone belongs to the side of the grid's middle on which it lies. mask: (I, J, K), I to the right.
    """
    columns = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(columns):
        return
    middle = float(columns[0] + columns[-1]) / 2
    if (columns[-1] - columns[0]) * geometry.spacing_mm[0] > BOTH_KIDNEYS_MM:
        right = np.arange(geometry.shape[0]) > middle
    else:
        right = np.full(geometry.shape[0], middle > (geometry.shape[0] - 1) / 2)
    labels[mask & right[:, None, None]] = BY_NAME["kidney_right"].label
    labels[mask & ~right[:, None, None]] = BY_NAME["kidney_left"].label
