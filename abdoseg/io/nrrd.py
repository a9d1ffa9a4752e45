"""NRRD reader (.nrrd, .nhdr).

By hand because SimpleITK dies of damaged files (2 of 3,000 mutated ones) and takes Python with it.
Source: https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from abdoseg.errors import ScanError
from abdoseg.io.image_file import GridCheck, ImageFile, accept_any_grid
from abdoseg.io.text_header import (
    Encoding,
    TextHeader,
    locate_data,
    parse_numbers,
    parse_shape,
    read_voxels,
    split_fields,
)  # fmt: skip
from abdoseg.runtime.gzip_stream import OpenedFile

TYPES = {
    **dict.fromkeys(["signed char", "int8", "int8_t"], "i1"),
    **dict.fromkeys(["uchar", "unsigned char", "uint8", "uint8_t"], "u1"),
    **dict.fromkeys(["short", "short int", "signed short", "signed short int", "int16", "int16_t"], "i2"),
    **dict.fromkeys(["ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"], "u2"),
    **dict.fromkeys(["int", "signed int", "int32", "int32_t"], "i4"),
    **dict.fromkeys(["uint", "unsigned int", "uint32", "uint32_t"], "u4"),
    **dict.fromkeys(["longlong", "long long", "long long int", "signed long long", "int64", "int64_t"], "i8"),
    **dict.fromkeys(["ulonglong", "unsigned long long", "uint64", "uint64_t"], "u8"),
    "float": "f4",
    "double": "f8",
}
SIGNS_TO_RAS = {
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1), "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
}  # fmt: skip
ENCODINGS: dict[str, Encoding] = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}


def is_nrrd(head: bytes) -> bool:
    """Whether a file begins as NRRD does."""
    return head[:4] == b"NRRD"


def read_nrrd(file: OpenedFile, check_grid: GridCheck = accept_any_grid) -> ImageFile:
    """Reads a NRRD file whole, in its own axes, after `check_grid`. Raises ScanError, ResourceError."""
    fields, end = split_fields(file, ":", last_key="")
    return read_voxels(file, _parse_header(file.path, fields, end), "NRRD", check_grid)


def _parse_header(path: Path, fields: dict[str, str], end: int) -> TextHeader:
    """`space directions` has a vector an axis. end: bytes of the header."""
    dtype = TYPES.get(fields.get("type", "").lower())
    if dtype is None:
        raise ScanError(f"{path}: voxels are {fields.get('type', 'of no type')[:40]}, not one number each")
    shape = parse_shape(path, fields.get("sizes", ""))
    signs = SIGNS_TO_RAS.get(fields.get("space", "").lower())
    if signs is None or "space directions" not in fields:
        raise ScanError(
            f"{path}: does not say where its axes point ('space' and 'space directions'), so left and right are unknown"
        )
    encoding = ENCODINGS.get(fields.get("encoding", "").lower())
    if encoding is None or fields.get("line skip", fields.get("lineskip", "0")) != "0":
        raise ScanError(f"{path}: encoding {fields.get('encoding', '')[:20]!r} is not read; save it as raw or gzip")
    affine = np.eye(4)
    affine[:3, :3] = parse_numbers(path, fields["space directions"], 9).reshape(3, 3).T
    affine[:3, 3] = parse_numbers(path, fields.get("space origin", "(0,0,0)"), 3)
    affine = np.diag([*signs, 1.0]) @ affine
    skip = fields.get("byte skip", fields.get("byteskip", "0"))
    data, start = locate_data(path, fields.get("data file", fields.get("datafile", "")), "", end, skip)
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    return TextHeader(shape, np.dtype(order + dtype), affine, data, start, encoding)
