"""MetaImage reader (.mha, .mhd).

By hand because SimpleITK dies of damaged files (2 of 3,000 mutated ones) and takes Python with it.
Source: https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from abdoseg.errors import ScanError
from abdoseg.image.affines import lps_to_ras
from abdoseg.io.image_file import GridCheck, ImageFile, accept_any_grid
from abdoseg.io.text_header import TextHeader, locate_data, parse_numbers, parse_shape, read_voxels, split_fields
from abdoseg.runtime.gzip_stream import OpenedFile

ELEMENT_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip


def is_metaimage(head: bytes) -> bool:
    """Whether a file's first lines are a MetaImage header's."""
    return any(line.split(b"=")[0].strip() in (b"ObjectType", b"NDims") for line in head.split(b"\n")[:3])


def read_metaimage(file: OpenedFile, check_grid: GridCheck = accept_any_grid) -> ImageFile:
    """Reads a MetaImage file whole, in its own axes, after `check_grid`. Raises ScanError, ResourceError."""
    fields, end = split_fields(file, "=", last_key="ElementDataFile")
    return read_voxels(file, _parse_header(file.path, fields, end), "MetaImage", check_grid)


def _parse_header(path: Path, fields: dict[str, str], end: int) -> TextHeader:
    """TransformMatrix has an axis a row; the space is LPS. end: bytes of the header."""
    dtype = ELEMENT_TYPES.get(fields.get("elementtype", ""))
    if dtype is None or fields.get("elementnumberofchannels", "1") != "1":
        raise ScanError(f"{path}: voxels are {fields.get('elementtype', 'of no type')[:40]}, not one number each")
    if "elementdatafile" not in fields:
        raise ScanError(f"{path}: damaged MetaImage header: no ElementDataFile; copy or export it again")
    if _is_true(fields.get("binarydata", "True")) is False:
        raise ScanError(f"{path}: voxels are written as text; save it in binary")
    order = ">" if _is_true(fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", ""))) else "<"
    affine = np.eye(4)
    axes = _first(fields, "transformmatrix", "rotation", "orientation", otherwise="1 0 0 0 1 0 0 0 1")
    spacing = _first(fields, "elementspacing", "elementsize", otherwise="1 1 1")
    affine[:3, :3] = (parse_numbers(path, axes, 9).reshape(3, 3) * parse_numbers(path, spacing, 3)[:, None]).T
    affine[:3, 3] = parse_numbers(path, _first(fields, "offset", "position", "origin", otherwise="0 0 0"), 3)
    data, start = locate_data(path, fields["elementdatafile"], "LOCAL", end, fields.get("headersize", "0"))
    is_deflated = _is_true(fields.get("compresseddata", ""))
    shape = parse_shape(path, fields.get("dimsize", ""))
    return TextHeader(shape, np.dtype(order + dtype), lps_to_ras(affine), data, start, "zlib" if is_deflated else "raw")


def _is_true(text: str) -> bool:
    return text.lower() in ("true", "1", "t", "yes")


def _first(fields: dict[str, str], *keys: str, otherwise: str) -> str:
    return next((fields[key] for key in keys if key in fields), otherwise)
