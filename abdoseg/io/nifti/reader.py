"""NIfTI-1 and NIfTI-2 files, single or in pairs, plain or gzipped, of either byte order: read and written.

Source: nifti1.h and nifti2.h of the NIfTI Data Format Working Group, https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any

import numpy as np

from abdoseg.errors import ScanError
from abdoseg.image.volume import Array, Geometry, Stored
from abdoseg.io.image_file import GridCheck, ImageFile, accept_any_grid, no_numbers, scaled
from abdoseg.io.limits import check_declared_size
from abdoseg.io.nifti.header import Order, byte_order, parsed
from abdoseg.io.nifti.orientation import nifti_affine
from abdoseg.runtime.gzip_stream import is_gzip, open_decompressed

SIZES = {348: 1, 540: 2}  # sizeof_hdr to version
MAGIC = {b"n+1\0": "single", b"ni1\0": "pair", b"n+2\0": "single", b"ni2\0": "pair"}
# Datatype codes that hold one number a voxel. Source: nifti1.h, DT_*.
NUMBERS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
OTHERS = {
    1: "bits",
    32: "complex numbers",
    128: "RGB colours",
    1536: "long doubles",
    1792: "complex numbers",
    2048: "complex numbers",
    2304: "RGBA colours",
}
MAX_OFFSET = 2**26  # extensions before the voxels; 64 MiB is already absurd
CHUNK = 2**23  # bytes gunzipped at a time: whatever is asked for at once is held twice


@dataclass(frozen=True, eq=False)
class VoxelData:
    """A file's voxels as its header describes them, not read yet.

    path: the file that holds them, after `skip` bytes, (I, J, K), the first axis fastest. scale: slope and intercept.
    """

    path: Path
    skip: int
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    scale: tuple[float, float]
    stored: Stored
    notes: tuple[str, ...]
    details: dict[str, Any]


def read_nifti(path: Path, assume_axes: bool = False, check_grid: GridCheck = accept_any_grid) -> ImageFile:
    """Reads a NIfTI file whole, in its own axes, with slope and intercept applied.

    assume_axes: take a file that does not say where its axes point (sform and qform codes 0) as left, anterior,
    superior, the customary reading. check_grid: asked with the grid before any voxel is read. Raises ScanError,
    ResourceError.
    """
    file = voxel_data(path, assume_axes, check_grid)
    with open_decompressed(file.path) as stream:
        [(_, raw)] = planes(file, stream, file.shape[2])
    array, bad = scaled(raw, *file.scale)
    return ImageFile(array, file.stored, file.notes + no_numbers(bad), file.details)


def voxel_data(path: Path, assume_axes: bool, check_grid: GridCheck = accept_any_grid) -> VoxelData:
    """Reads the header alone, as `read_nifti` would. Raises ScanError, ResourceError."""
    path = _header_path(path)
    header, kind = read_header(path)
    notes: list[str] = []
    shape = _shape(path, header)
    affine, source = nifti_affine(path, header, shape, assume_axes, notes)
    stored = Stored(Geometry(shape, affine), None if source == "assumed" else header)  # what is written says it
    check_grid(stored.geometry)
    image = _image_path(path) if kind == "pair" else path
    dtype = np.dtype(NUMBERS[int(header["datatype"])]).newbyteorder(byte_order(header))
    skip = _skip(image, header, kind)
    size, packed = image.stat().st_size, is_gzip(image)
    check_declared_size(str(image), shape, dtype.itemsize, size if packed else max(0, size - skip), packed)
    details = {
        "format": f"NIfTI-{SIZES[int(header['sizeof_hdr'])]}",
        "stored_type": str(dtype.newbyteorder("=")),
        "affine_from": source,
    }
    return VoxelData(image, skip, shape, dtype, _slope(header), stored, tuple(notes), details)


def planes(file: VoxelData, stream: IO[bytes] | RawIOBase, depth: int) -> Iterator[tuple[int, Array]]:
    """The stored numbers (I, J, at most `depth`), and the index along K of their first plane.

    They lie in the same memory as those before them, which are gone. Raises ScanError.
    """
    plane = file.shape[0] * file.shape[1]
    plane_bytes = plane * file.dtype.itemsize
    numbers = np.empty(plane * min(depth, file.shape[2]), file.dtype)
    _read(stream, file.skip)
    for first in range(0, file.shape[2], depth):
        some = numbers[: plane * min(depth, file.shape[2] - first)]
        view, done = some.view(np.uint8).data, 0
        while done < len(view) and (count := stream.readinto(view[done : done + CHUNK])):  # type: ignore[union-attr]
            done += count
        if done < len(view):
            raise ScanError(
                f"{file.path}: truncated: {first * plane_bytes + done:,} of {file.shape[2] * plane_bytes:,} bytes of "
                "voxels; copy or export it again"
            )
        yield first, some.reshape((*file.shape[:2], -1), order="F")
    if not isinstance(stream, BufferedReader):
        stream.read(1)  # the end of a gzip stream is where its checksum is checked


def read_header(path: Path) -> tuple[Any, str]:
    """The header as `nifti_header.parsed` gives it, and 'single' or 'pair'. Raises ScanError."""
    with open_decompressed(path) as stream:
        block = _read(stream, 540)
    size, order = _size_and_order(block)
    if not size:
        raise ScanError(f"{path}: not a NIfTI file (it starts with {block[:4].hex(' ')}); is the suffix right?")
    if len(block) < size:
        raise ScanError(f"{path}: truncated inside its header, after {len(block)} bytes; copy or export it again")
    magic = block[344:348] if size == 348 else block[4:8]
    if magic not in MAGIC:
        raise ScanError(f"{path}: an Analyze 7.5 file, or damaged: it does not say where its axes point; use NIfTI")
    return parsed(block, size, order), MAGIC[magic]


def is_nifti(head: bytes) -> bool:
    """Whether a file's first bytes are a header's, in either version and byte order."""
    return bool(_size_and_order(head)[0])


def _size_and_order(head: bytes) -> tuple[int, Order]:
    """sizeof_hdr and byte order; 0 when there is no such header."""
    little, big = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    return (little, "<") if little in SIZES else (big, ">") if big in SIZES else (0, "<")


def _read(stream: IO[bytes] | RawIOBase, count: int) -> bytes:
    """Up to `count` bytes: fewer only at the end."""
    parts = b""
    while len(parts) < count and (part := stream.read(count - len(parts))):
        parts += part
    return parts


def _shape(path: Path, header: Any) -> tuple[int, int, int]:
    """The three axes; trailing axes of 1 are dropped, everything else that is not 3-D is refused."""
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise ScanError(f"{path}: damaged header: {count} axes")
    dim = [int(n) for n in header["dim"][1 : count + 1]]
    if min(dim) < 1:
        raise ScanError(f"{path}: no voxels: the header says {' x '.join(map(str, dim))}")
    while len(dim) > 3 and dim[-1] == 1:
        dim.pop()
    size = " x ".join(map(str, dim))
    if len(dim) == 4:
        raise ScanError(f"{path}: 4-D ({size}): {dim[3]} volumes in one file; extract the one to be used")
    if len(dim) > 4:
        raise ScanError(f"{path}: {len(dim)}-D ({size}), vectors or tensors, not a CT; extract one 3-D volume")
    dim += [1] * (3 - len(dim))
    code = int(header["datatype"])
    if code not in NUMBERS:
        raise ScanError(
            f"{path}: voxels are {OTHERS.get(code, f'of unknown type {code}')}, not HU; export plain numbers"
        )
    return dim[0], dim[1], dim[2]


def _header_path(path: Path) -> Path:
    """The .hdr of a pair that was named by its .img."""
    return _partner(path, ".img", ".hdr") or path


def _image_path(path: Path) -> Path:
    """The .img of a .hdr, gzipped or not. Raises ScanError."""
    if found := _partner(path, ".hdr", ".img"):
        return found
    name = path.name.removesuffix(".gz").removesuffix(".hdr")
    raise ScanError(f"{path}: its voxels, {name}.img, are missing beside it; keep both files of the pair together")


def _partner(path: Path, mine: str, other: str) -> Path | None:
    """The other file of a pair, if it is there, in the same folder and letter case."""
    stem, suffix = (
        (path.stem, path.suffix) if path.suffix.lower() != ".gz" else (Path(path.stem).stem, Path(path.stem).suffix)
    )
    if suffix.lower() != mine:
        return None
    other = other.upper() if suffix.isupper() else other
    names = [path.with_name(stem + other + packed) for packed in ("", ".gz")]
    return next((name for name in names if name.is_file()), None)


def _skip(path: Path, header: Any, kind: str) -> int:
    """Bytes before the voxels. Raises ScanError."""
    least = 0 if kind == "pair" else {348: 352, 540: 544}[int(header["sizeof_hdr"])]
    offset = float(header["vox_offset"])
    if not (0 <= offset <= MAX_OFFSET):
        raise ScanError(f"{path}: damaged header: the voxels are said to start at byte {offset:g}")
    return max(int(offset), least)


def _slope(header: Any) -> tuple[float, float]:
    """scl_slope and scl_inter; slope 0 means that the numbers are to be taken as they are."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope) or not np.isfinite(intercept):
        return 1.0, 0.0
    return slope, intercept
