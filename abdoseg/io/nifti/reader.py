"""NIfTI reader: versions 1 and 2, single files and pairs, plain and gzipped, of either byte order.

By hand because a gzipped CT of 512 x 512 x 300 voxels takes .4 s here, 1.0 s and .13 s of import with nibabel; and
damaged headers are repaired or refused with words.

Source: nifti1.h and nifti2.h of the NIfTI Data Format Working Group, https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abdoseg.errors import ScanError
from abdoseg.image.volume import Array, Geometry, Stored
from abdoseg.io.image_file import GridCheck, ImageFile, accept_any_grid, apply_scale, non_finite_notes
from abdoseg.io.limits import check_declared_size
from abdoseg.io.nifti.header import Order, byte_order, in_millimetres, parsed
from abdoseg.io.nifti.orientation import nifti_affine
from abdoseg.runtime.gzip_stream import OpenedFile, open_decompressed

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
class VoxelLayout:
    """Where a file's voxels lie and what they are, as its header says.

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


def read_nifti(file: OpenedFile, assume_axes: bool = False, check_grid: GridCheck = accept_any_grid) -> ImageFile:
    """Reads a NIfTI file whole, in its own axes, with slope and intercept applied.

    Args:
        file: a single file, or either of a pair, whose other file is opened here.
        assume_axes: take a file that does not say where its axes point (sform and qform codes 0) as left, anterior,
            superior, the customary reading.
        check_grid: called with the grid before any voxel is read.

    Raises:
        ScanError: when the file is damaged, or is no scan that can be used.
        ResourceError: when memory is not enough.
    """
    layout = read_layout(file, assume_axes)
    check_grid(layout.stored)
    with nullcontext(file) if layout.path == file.path else open_decompressed(layout.path) as data:
        [(_, raw)] = read_planes(layout, data, layout.shape[2])
    voxels, bad = apply_scale(raw, *layout.scale)
    return ImageFile(voxels, layout.stored, layout.notes + non_finite_notes(bad), layout.details)


def read_layout(file: OpenedFile, assume_axes: bool) -> VoxelLayout:
    """Reads the header alone, that of the pair when `file` is the other half of one. Raises ScanError."""
    header_path = _header_path(file.path)
    if header_path == file.path:
        header, kind = parse_header(file.path, file.head)
    else:
        with open_decompressed(header_path) as other:
            header, kind = parse_header(header_path, other.head)
    notes: list[str] = []
    shape = _shape(header_path, header)
    affine, source, factor = nifti_affine(header_path, header, shape, assume_axes, notes)
    # A file written with the scan's own header is in mm, too; where axes were assumed, a new header says so.
    stored = Stored(Geometry(shape, affine), None if source == "assumed" else in_millimetres(header, factor))
    data = _image_path(header_path) if kind == "pair" else header_path
    dtype = np.dtype(NUMBERS[int(header["datatype"])]).newbyteorder(byte_order(header))
    details = {
        "format": f"NIfTI-{SIZES[int(header['sizeof_hdr'])]}",
        "stored_type": str(dtype.newbyteorder("=")),
        "affine_from": source,
    }
    return VoxelLayout(data, _skip(data, header, kind), shape, dtype, _slope(header), stored, tuple(notes), details)


def read_planes(layout: VoxelLayout, file: OpenedFile, depth: int) -> Iterator[tuple[int, Array]]:
    """The stored numbers (I, J, at most `depth`), and the index along K of their first plane.

    They lie in the same memory as those before them, which are gone. Raises ScanError, ResourceError.
    """
    size = file.stored_bytes if file.is_gzip else max(0, file.stored_bytes - layout.skip)
    check_declared_size(str(layout.path), layout.shape, layout.dtype.itemsize, size, file.is_gzip)
    plane = layout.shape[0] * layout.shape[1]
    plane_bytes = plane * layout.dtype.itemsize
    numbers = np.empty(plane * min(depth, layout.shape[2]), layout.dtype)
    file.stream.read(layout.skip)
    for first in range(0, layout.shape[2], depth):
        some = numbers[: plane * min(depth, layout.shape[2] - first)]
        view, done = some.view(np.uint8).data, 0
        while done < len(view) and (count := file.stream.readinto(view[done : done + CHUNK])):  # type: ignore[attr-defined]
            done += count
        if done < len(view):
            raise ScanError(
                f"{layout.path}: truncated: {first * plane_bytes + done:,} of {layout.shape[2] * plane_bytes:,} bytes "
                "of voxels; copy or export it again"
            )
        yield first, some.reshape((*layout.shape[:2], -1), order="F")
    file.stream.read(1)  # the end of a gzip stream is where its checksum is checked


def parse_header(path: Path, head: bytes) -> tuple[Any, str]:
    """The header as a record (see abdoseg.io.nifti.header), and 'single' or 'pair'. Raises ScanError.

    head: the file's first bytes, as many as a header has or fewer.
    """
    size, order = _size_and_order(head)
    if not size:
        raise ScanError(f"{path}: not a NIfTI file (it starts with {head[:4].hex(' ')}); is the suffix right?")
    if len(head) < size:
        raise ScanError(f"{path}: truncated inside its header, after {len(head)} bytes; copy or export it again")
    magic = head[344:348] if size == 348 else head[4:8]
    if magic not in MAGIC:
        raise ScanError(f"{path}: an Analyze 7.5 file, or damaged: it does not say where its axes point; use NIfTI")
    return parsed(head, size, order), MAGIC[magic]


def is_nifti(head: bytes) -> bool:
    """Whether a file's first bytes are a header's, in either version and byte order."""
    return bool(_size_and_order(head)[0])


def _size_and_order(head: bytes) -> tuple[int, Order]:
    """sizeof_hdr and byte order; 0 when there is no such header."""
    little, big = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    return (little, "<") if little in SIZES else (big, ">") if big in SIZES else (0, "<")


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
    raise ScanError(f"{path}: its voxels, {name}.img, are missing; keep both files together, in a folder and no zip")


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
