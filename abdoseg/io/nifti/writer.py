"""NIfTI writer: arrays on a scan's own grid, with the scan's own header where it had one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from abdoseg.image.volume import Array, Geometry, Stored
from abdoseg.io.nifti.header import MM, blank, byte_order, quaternion
from abdoseg.io.nifti.reader import NUMBERS

if TYPE_CHECKING:
    from typing import IO

LEVEL = 2  # of isal's 0 to 3: see tests/benchmarks/read_dicom.py
BLOCK = 4 * 2**20
SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT
KEPT = (
    "sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "qoffset_x",
    "qoffset_y", "qoffset_z", "xyzt_units",
)  # fmt: skip
CODES = {kind: code for code, kind in NUMBERS.items()}


def write_nifti(array: Array, stored: Stored, path: Path) -> None:
    """Writes a canonical array on the axes that the scan had in its file; gzipped when `path` ends in .gz.

    array: (I, J, K) canonical; uint8 labels, int16 or float32 HU. A scan that was NIfTI keeps its header: sform, qform,
    their codes, version and byte order. Any other gets both, or for a sheared grid the sform alone, since a
    quaternion holds no shear. Raises OSError.
    """
    header = nifti_header(array.dtype, stored)
    voxels = np.ravel(stored.from_canonical(array), order="F")
    voxels = voxels.astype(voxels.dtype.newbyteorder(byte_order(header)), copy=False)
    with _sink(path) as sink:
        sink.write(header.tobytes() + bytes(4))
        view = voxels.view(np.uint8).data
        for start in range(0, len(view), BLOCK):
            sink.write(view[start : start + BLOCK])


def nifti_header(dtype: Any, stored: Stored) -> Any:
    """The header of a single NIfTI file that holds such voxels on the stored grid: see abdoseg.io.nifti.header."""
    old = _new_header(stored.geometry) if stored.header is None else stored.header
    header = blank(int(old["sizeof_hdr"]), byte_order(old))
    for field in KEPT:
        header[field] = old[field]
    header["dim"][:4] = 3, *stored.geometry.shape
    header["pixdim"][:4] = old["pixdim"][:4]
    dtype = np.dtype(dtype)
    header["datatype"], header["bitpix"] = CODES[dtype.str[1:]], 8 * dtype.itemsize
    header["scl_slope"] = 1
    return header


def _new_header(geometry: Geometry) -> Any:
    """A header that says where the grid lies, in its sform and, unless it is sheared, in its qform."""
    header = blank(348, "<")
    header["xyzt_units"] = MM
    header["pixdim"][1:4] = geometry.spacing_mm
    header["sform_code"] = SCANNER
    header["srow_x"], header["srow_y"], header["srow_z"] = geometry.affine[:3]
    if geometry.shear_degrees < 0.01:
        axes = geometry.affine[:3, :3] / geometry.spacing_mm
        if np.linalg.det(axes) < 0:
            axes[:, 2] *= -1
            header["pixdim"][0] = -1
        header["qform_code"] = SCANNER
        _, header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion(axes)
        header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = geometry.affine[:3, 3]
    return header


def _sink(path: Path) -> IO[bytes]:
    """Where the bytes go: a gzip stream pressed by a second thread, or the file itself."""
    if path.suffix.lower() != ".gz":
        return path.open("wb")
    from isal import igzip_threaded

    stream: IO[bytes] = igzip_threaded.open(path, "wb", compresslevel=LEVEL, threads=2, block_size=BLOCK)
    return stream
