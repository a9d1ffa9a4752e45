"""What a path holds, by its first bytes rather than its suffix, and the reader for it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from abdoseg.errors import ScanError
from abdoseg.io.dicom.headers import is_dicom
from abdoseg.io.image_file import GridCheck, ImageFile, accept_any_grid
from abdoseg.io.nifti.reader import is_nifti, read_nifti
from abdoseg.io.other import read_other
from abdoseg.runtime.gzip_stream import open_decompressed

Kind = Literal["NIfTI", "MetaImage", "NRRD", "DICOM"]
ZIP = b"PK"


def kind_of(path: Path) -> Kind:
    """The kind of a file or folder. Raises ScanError when it is none that can be read."""
    try:
        if path.is_dir():
            return "DICOM"
        if not path.exists():
            raise ScanError(f"{path}: no such file or folder")
        if not path.is_file():
            raise ScanError(f"{path}: neither a file nor a folder")
    except OSError as error:
        raise ScanError(f"{str(path)[:200]}: cannot be opened ({error.strerror or error})") from error
    with open_decompressed(path) as stream:
        head = stream.read(540)
    if head[:4] == b"NRRD":
        return "NRRD"
    if is_nifti(head):
        return "NIfTI"
    if head[:2] == ZIP or is_dicom(head):
        return "DICOM"
    if any(line.split(b"=")[0].strip() in (b"ObjectType", b"NDims") for line in head.split(b"\n")[:3]):
        return "MetaImage"
    if path.name.lower().endswith((".img", ".img.gz")):
        return "NIfTI"  # the voxels of a pair; the reader turns to its .hdr
    raise ScanError(f"{path}: {_what(path, head)}")


def _what(path: Path, head: bytes) -> str:
    """Words for a file that no reader knows."""
    name = path.name.lower()
    wanted = next(
        (kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), "NIfTI, DICOM, MetaImage or NRRD"
    )
    begins = f"it starts with {head[:4].hex(' ')}"
    if not head:
        return "the file is empty; copy or export it again"
    if not any(head[:128]):
        begins = "it starts with zeros: an interrupted copy?"
    elif all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head[:64]):
        begins = "it is text"
    return f"not a {wanted} file ({begins}); is this the right file?"


SUFFIXES = {
    ".nii": "NIfTI", ".nii.gz": "NIfTI", ".hdr": "NIfTI", ".hdr.gz": "NIfTI", ".mha": "MetaImage", ".mhd": "MetaImage",
    ".nrrd": "NRRD", ".nhdr": "NRRD", ".dcm": "DICOM", ".zip": "zip",
}  # fmt: skip


def read_file(path: Path, assume_axes: bool, check_grid: GridCheck = accept_any_grid) -> ImageFile:
    """Reads a single-file format, HU or labels alike, after `check_grid`. Raises ScanError, for DICOM too."""
    kind = kind_of(path)
    if kind == "DICOM":
        raise ScanError(f"{path}: DICOM, where a NIfTI, .mha or .nrrd file is needed")
    return read_nifti(path, assume_axes, check_grid) if kind == "NIfTI" else read_other(path, kind, check_grid)
