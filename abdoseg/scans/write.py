"""Arrays to NIfTI files on a scan's own grid, with the scan's own header where it had one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from abdoseg.volume import Array, Stored

if TYPE_CHECKING:
    from typing import IO

LEVEL = 2  # of isal's 0 to 3: see tests/benchmarks/read_dicom.py
BLOCK = 4 * 2**20
SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT


def write_nifti(array: Array, stored: Stored, path: Path) -> None:
    """Writes a canonical array on the axes that the scan had in its file; gzipped when `path` ends in .gz.

    array: (I, J, K) canonical; uint8 labels, int16 or float32 HU. A scan that was NIfTI keeps its header: sform, qform,
    their codes, version and byte order. Any other gets both, or for a sheared grid the sform alone, since a
    quaternion holds no shear. Raises OSError.
    """
    header = nifti_header(array.dtype, stored)
    voxels = np.ravel(stored.from_canonical(array), order="F")
    voxels = voxels.astype(voxels.dtype.newbyteorder(header.endianness), copy=False)
    with _sink(path) as sink:
        sink.write(header.binaryblock + bytes(4))
        view = voxels.view(np.uint8).data
        for start in range(0, len(view), BLOCK):
            sink.write(view[start : start + BLOCK])


def nifti_header(dtype: Any, stored: Stored) -> Any:
    """The header of a single NIfTI file that holds such voxels on the stored grid."""
    import nibabel

    shape, affine = stored.geometry.shape, stored.geometry.affine
    if stored.header is None:
        header = nibabel.Nifti1Header()
        header.set_data_shape(shape)
        header.set_xyzt_units("mm")
        header.set_sform(affine, code=SCANNER)
        if stored.geometry.shear_degrees < 0.01:
            header.set_qform(affine, code=SCANNER)
        else:
            header["pixdim"][1:4] = stored.geometry.spacing_mm
    else:
        old = stored.header
        kind = nibabel.Nifti2Header if int(old["sizeof_hdr"]) == 540 else nibabel.Nifti1Header
        header = kind(endianness=old.endianness)
        header.set_data_shape(shape)
        for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d",
                      "qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units"):  # fmt: skip
            header[field] = old[field]
        header["pixdim"][:4] = old["pixdim"][:4]
    header.set_data_dtype(np.dtype(dtype).newbyteorder(header.endianness))
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = header.single_vox_offset
    return header


def _sink(path: Path) -> IO[bytes]:
    """Where the bytes go: a gzip stream pressed by a second thread, or the file itself."""
    if path.suffix.lower() != ".gz":
        return path.open("wb")
    from isal import igzip_threaded

    stream: IO[bytes] = igzip_threaded.open(path, "wb", compresslevel=LEVEL, threads=2, block_size=BLOCK)
    return stream
