"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr): a header in words, then numbers, raw or deflated.

They are read here because SimpleITK, which others trust with them, dies of damaged ones and takes Python along.
Source: https://itk.org/Wiki/ITK/MetaIO/Documentation; https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np

from abdoseg.errors import ScanError
from abdoseg.image.affines import is_usable, lps_to_ras, straightened
from abdoseg.image.volume import Affine, Array, Geometry, Stored
from abdoseg.io.image_file import GridCheck, ImageFile, accept_any_grid, no_numbers, scaled
from abdoseg.io.limits import check_declared_size

HEADER_BYTES = 2**20
CHUNK = 2**20
META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
NRRD_TYPES = {
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
# A NRRD space to the signs that take it to RAS.
SPACES = {
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1), "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
}  # fmt: skip
ENCODINGS: dict[str, Literal["raw", "gzip"]] = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}


@dataclass(frozen=True, eq=False)
class Header:
    """What either format's header says. affine: index to RAS mm. start: the first byte of the voxels in `data`."""

    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    affine: Affine
    data: Path
    start: int
    encoding: Literal["raw", "gzip", "zlib"]


def read_other(path: Path, kind: Literal["MetaImage", "NRRD"], check_grid: GridCheck = accept_any_grid) -> ImageFile:
    """Reads a file whole, in its own axes; `check_grid` is called first. Raises ScanError, ResourceError."""
    try:
        fields, end = _fields(path, ":" if kind == "NRRD" else "=", kind)
        header = _nrrd(path, fields, end) if kind == "NRRD" else _meta(path, fields, end)
        if not is_usable(header.affine):
            raise ScanError(f"{path}: its axes and spacing are impossible: the geometry is damaged; convert it again")
        affine, _ = straightened(header.affine, header.shape)
        check_grid(Geometry(header.shape, affine))
        raw = _voxels(header)
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror or error})") from error
    details = {"format": kind, "stored_type": str(raw.dtype.newbyteorder("="))}
    array, bad = scaled(raw, 1.0, 0.0)
    return ImageFile(array, Stored(Geometry(header.shape, affine)), no_numbers(bad), details)


def _fields(path: Path, separator: str, kind: str) -> tuple[dict[str, str], int]:
    """Keys, in lower case, to values; and where the header ends: NRRD's at an empty line, the other's after its key."""
    fields: dict[str, str] = {}
    end = 0
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    for line in head.split(b"\n"):
        end += len(line) + 1
        key, _, value = line.decode("latin-1").strip().partition(separator)
        if key.strip():
            fields[key.strip().lower()] = value.lstrip("=").strip()
        if (kind == "NRRD" and not line.strip()) or key.strip() == "ElementDataFile":
            break
    return fields, min(end, len(head))


def _meta(path: Path, fields: dict[str, str], end: int) -> Header:
    """A MetaImage's header. TransformMatrix has an axis a row; the space is LPS."""
    dtype = META_TYPES.get(fields.get("elementtype", ""))
    if dtype is None or fields.get("elementnumberofchannels", "1") != "1":
        raise ScanError(f"{path}: voxels are {fields.get('elementtype', 'of no type')[:40]}, not one number each")
    if "elementdatafile" not in fields:
        raise ScanError(f"{path}: damaged MetaImage header: no ElementDataFile; copy or export it again")
    if _is_true(fields.get("binarydata", "True")) is False:
        raise ScanError(f"{path}: voxels are written as text; save it in binary")
    order = ">" if _is_true(fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", ""))) else "<"
    affine = np.eye(4)
    turn = _first(fields, "transformmatrix", "rotation", "orientation", otherwise="1 0 0 0 1 0 0 0 1")
    spacing = _first(fields, "elementspacing", "elementsize", otherwise="1 1 1")
    affine[:3, :3] = (_numbers(path, turn, 9).reshape(3, 3) * _numbers(path, spacing, 3)[:, None]).T
    affine[:3, 3] = _numbers(path, _first(fields, "offset", "position", "origin", otherwise="0 0 0"), 3)
    data, start = _data_file(path, fields["elementdatafile"], "LOCAL", end, fields.get("headersize", "0"))
    packed = _is_true(fields.get("compresseddata", ""))
    shape = _sizes(path, fields.get("dimsize", ""))
    return Header(shape, np.dtype(order + dtype), lps_to_ras(affine), data, start, "zlib" if packed else "raw")


def _nrrd(path: Path, fields: dict[str, str], end: int) -> Header:
    """A NRRD's header. `space directions` has a vector an axis."""
    dtype = NRRD_TYPES.get(fields.get("type", "").lower())
    if dtype is None:
        raise ScanError(f"{path}: voxels are {fields.get('type', 'of no type')[:40]}, not one number each")
    shape = _sizes(path, fields.get("sizes", ""))
    signs = SPACES.get(fields.get("space", "").lower())
    if signs is None or "space directions" not in fields:
        raise ScanError(
            f"{path}: does not say where its axes point ('space' and 'space directions'), so left and right are unknown"
        )
    encoding = ENCODINGS.get(fields.get("encoding", "").lower())
    if encoding is None or fields.get("line skip", fields.get("lineskip", "0")) != "0":
        raise ScanError(f"{path}: encoding {fields.get('encoding', '')[:20]!r} is not read; save it as raw or gzip")
    affine = np.eye(4)
    affine[:3, :3] = _numbers(path, fields["space directions"], 9).reshape(3, 3).T
    affine[:3, 3] = _numbers(path, fields.get("space origin", "(0,0,0)"), 3)
    affine = np.diag([*signs, 1.0]) @ affine
    skip = fields.get("byte skip", fields.get("byteskip", "0"))
    data, start = _data_file(path, fields.get("data file", fields.get("datafile", "")), "", end, skip)
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    return Header(shape, np.dtype(order + dtype), affine, data, start, encoding)


def _is_true(text: str) -> bool:
    return text.lower() in ("true", "1", "t", "yes")


def _first(fields: dict[str, str], *keys: str, otherwise: str) -> str:
    return next((fields[key] for key in keys if key in fields), otherwise)


def _numbers(path: Path, text: str, count: int) -> Array:
    """`count` numbers between blanks, commas and brackets."""
    try:
        numbers = np.array([float(part) for part in re.split(r"[\s,()]+", text) if part])
    except ValueError:
        numbers = np.array([])
    if numbers.shape != (count,):
        raise ScanError(f"{path}: damaged header: {text[:60]!r} where {count} numbers should be")
    return numbers


def _sizes(path: Path, text: str) -> tuple[int, int, int]:
    """Three whole numbers, each 1 or more."""
    parts = text.split()
    if not parts or not all(part.isascii() and part.isdigit() and len(part) < 12 for part in parts):
        raise ScanError(f"{path}: damaged header: the size is {text[:40]!r}")
    size = " x ".join(parts[:8])
    if len(parts) != 3:
        raise ScanError(f"{path}: {len(parts)}-D ({size}); a 3-D volume is needed: extract the one to be used")
    if "0" in (part.lstrip("0") or "0" for part in parts):
        raise ScanError(f"{path}: no voxels: the header says {size}")
    return int(parts[0]), int(parts[1]), int(parts[2])


def _data_file(path: Path, name: str, here: str, end: int, skip: str) -> tuple[Path, int]:
    """The file that holds the voxels, the header's own or one beside it, and where they start in it."""
    if not (skip.isascii() and skip.isdigit()):
        raise ScanError(f"{path}: the voxels are said to start {skip[:20]!r} bytes into their file; save it again")
    if name == here:
        return path, end + int(skip)
    if Path(name).name != name or name.upper().startswith("LIST") or "%" in name:
        raise ScanError(f"{path}: its voxels lie in several files or in another folder; save it as one file")
    data = path.parent / name
    if not data.is_file():
        raise ScanError(f"{path}: its voxels, {name}, are missing; keep both files together")
    return data, int(skip)


def _voxels(header: Header) -> Array:
    """The stored numbers, (I, J, K), first axis fastest."""
    name, size = str(header.data), header.data.stat().st_size - header.start
    check_declared_size(name, header.shape, header.dtype.itemsize, max(0, size), header.encoding != "raw")
    array = np.empty(int(np.prod(header.shape)), header.dtype)
    view = array.view(np.uint8).data
    with header.data.open("rb") as file:
        file.seek(header.start)
        done = file.readinto(view) if header.encoding == "raw" else _inflate(name, file, view, header.encoding)
    if done < len(view):
        raise ScanError(f"{name}: truncated: {done:,} of {len(view):,} bytes of voxels; copy or export it again")
    return array.reshape(header.shape, order="F")


def _inflate(name: str, file: IO[bytes], view: memoryview, encoding: Literal["zlib", "gzip"]) -> int:
    """Fills `view` and checks the sum at the end; gives the number of bytes written. Raises ScanError."""
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
    done = 0
    try:
        while not inflate.eof and (data := inflate.unconsumed_tail or file.read(CHUNK)):
            part = inflate.decompress(data, max(1, len(view) - done))
            if done == len(view) and part:
                raise ScanError(f"{name}: damaged: more voxels than the header says; copy or export it again")
            view[done : done + len(part)] = part
            done += len(part)
    except zlib.error as error:
        raise ScanError(f"{name}: truncated or damaged ({error}); copy or export it again") from error
    return done
