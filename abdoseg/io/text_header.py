"""Text headers followed by raw or deflated voxels: what the MetaImage and NRRD readers share."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np

from abdoseg.errors import ScanError
from abdoseg.image.affines import is_usable, straightened
from abdoseg.image.volume import Affine, Array, Geometry, Stored
from abdoseg.io.image_file import GridCheck, ImageFile, apply_scale, non_finite_notes
from abdoseg.io.limits import check_declared_size
from abdoseg.runtime.gzip_stream import OpenedFile

MAX_HEADER_BYTES = 2**20
CHUNK = 2**20
Encoding = Literal["raw", "gzip", "zlib"]


@dataclass(frozen=True, eq=False)
class TextHeader:
    """What either format's header says. affine: index to RAS mm. start: the first byte of the voxels in `data`."""

    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    affine: Affine
    data: Path
    start: int
    encoding: Encoding


def read_voxels(file: OpenedFile, header: TextHeader, name: str, check_grid: GridCheck) -> ImageFile:
    """Reads the voxels that a header describes, from its own file or the one beside it, after `check_grid`.

    name: of the format, for the record. Raises ScanError, ResourceError.
    """
    if not is_usable(header.affine):
        raise ScanError(f"{file.path}: its axes and spacing are impossible: the geometry is damaged; convert it again")
    affine, _ = straightened(header.affine, header.shape)
    stored = Stored(Geometry(header.shape, affine))
    check_grid(stored)
    if header.data == file.path:
        raw = _read_array(header, file.stream, file.stored_bytes, file.is_gzip)
    else:
        with header.data.open("rb") as data:
            raw = _read_array(header, data, header.data.stat().st_size, False)
    voxels, bad = apply_scale(raw, 1.0, 0.0)
    details = {"format": name, "stored_type": str(raw.dtype.newbyteorder("="))}
    return ImageFile(voxels, stored, non_finite_notes(bad), details)


def split_fields(file: OpenedFile, separator: str, last_key: str) -> tuple[dict[str, str], int]:
    """The header's keys, in lower case, with their values, and the number of its bytes.

    last_key: ends the header; '' when an empty line does.
    """
    fields: dict[str, str] = {}
    end = 0
    head = file.stream.read(MAX_HEADER_BYTES)
    for line in head.split(b"\n"):
        end += len(line) + 1
        key, _, value = line.decode("latin-1").strip().partition(separator)
        if key.strip():
            fields[key.strip().lower()] = value.lstrip("=").strip()
        if key.strip() == last_key if last_key else not line.strip():
            break
    return fields, min(end, len(head))


def parse_numbers(path: Path, text: str, count: int) -> Array:
    """`count` numbers between blanks, commas and brackets. Raises ScanError."""
    try:
        numbers = np.array([float(part) for part in re.split(r"[\s,()]+", text) if part])
    except ValueError:
        numbers = np.array([])
    if numbers.shape != (count,):
        raise ScanError(f"{path}: damaged header: {text[:60]!r} where {count} numbers should be")
    return numbers


def parse_shape(path: Path, text: str) -> tuple[int, int, int]:
    """Three whole numbers, each 1 or more. Raises ScanError."""
    parts = text.split()
    if not parts or not all(part.isascii() and part.isdigit() and len(part) < 12 for part in parts):
        raise ScanError(f"{path}: damaged header: the size is {text[:40]!r}")
    size = " x ".join(parts[:8])
    if len(parts) != 3:
        raise ScanError(f"{path}: {len(parts)}-D ({size}); a 3-D volume is needed: extract the one to be used")
    if "0" in (part.lstrip("0") or "0" for part in parts):
        raise ScanError(f"{path}: no voxels: the header says {size}")
    return int(parts[0]), int(parts[1]), int(parts[2])


def locate_data(path: Path, name: str, own: str, end: int, skip: str) -> tuple[Path, int]:
    """The file that holds the voxels and their first byte in it: the header's file when `name` is `own`, or another.

    end: bytes of the header. skip: bytes before the voxels, as the header says. Raises ScanError.
    """
    if not (skip.isascii() and skip.isdigit()):
        raise ScanError(f"{path}: the voxels are said to start {skip[:20]!r} bytes into their file; save it again")
    if name == own:
        return path, end + int(skip)
    name = name.removeprefix("./")
    if Path(name).name != name or name.upper().startswith("LIST") or "%" in name:
        raise ScanError(f"{path}: its voxels lie in several files or in another folder; save it as one file")
    data = path.parent / name
    if not data.is_file():
        raise ScanError(f"{path}: its voxels, {name}, are missing; keep both files together, in a folder and no zip")
    return data, int(skip)


def _read_array(header: TextHeader, file: IO[bytes], stored_bytes: int, is_gzip: bool) -> Array:
    """The stored numbers, (I, J, K), first axis fastest."""
    name, size = str(header.data), max(0, stored_bytes - header.start)
    packed = is_gzip or header.encoding != "raw"
    check_declared_size(name, header.shape, header.dtype.itemsize, stored_bytes if is_gzip else size, packed)
    array = np.empty(int(np.prod(header.shape)), header.dtype)
    view = array.view(np.uint8).data
    file.seek(header.start)
    done = _fill(file, view) if header.encoding == "raw" else _inflate(name, file, view, header.encoding)
    if done < len(view):
        raise ScanError(f"{name}: truncated: {done:,} of {len(view):,} bytes of voxels; copy or export it again")
    return array.reshape(header.shape, order="F")


def _fill(file: IO[bytes], view: memoryview) -> int:
    """Fills `view` from the file; gives the number of bytes read."""
    done = 0
    while done < len(view) and (count := file.readinto(view[done : done + CHUNK])):  # type: ignore[attr-defined]
        done += count
    return done


def _inflate(name: str, file: IO[bytes], view: memoryview, encoding: Encoding) -> int:
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
