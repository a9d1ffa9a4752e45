"""Format detection by a file's first bytes rather than its suffix, and the reader of each single-file format."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

from abdoseg.errors import ScanError
from abdoseg.io.archive import Entry
from abdoseg.io.dicom.headers import is_dicom
from abdoseg.io.image_file import GridCheck, ImageFile, accept_any_grid
from abdoseg.io.metaimage import is_metaimage, read_metaimage
from abdoseg.io.nifti.reader import is_nifti, read_nifti
from abdoseg.io.nrrd import is_nrrd, read_nrrd
from abdoseg.runtime.gzip_stream import OpenedFile, open_decompressed

Format = Literal["NIfTI", "MetaImage", "NRRD", "DICOM"]
ZIP_MAGIC = b"PK"
SUFFIXES = {
    ".nii": "NIfTI", ".nii.gz": "NIfTI", ".hdr": "NIfTI", ".hdr.gz": "NIfTI", ".mha": "MetaImage", ".mhd": "MetaImage",
    ".nrrd": "NRRD", ".nhdr": "NRRD", ".dcm": "DICOM", ".zip": "zip",
}  # fmt: skip


def format_of(path: Path) -> Format:
    """The format of a file or folder. Raises ScanError when it is none that can be read."""
    if is_folder(path):
        return "DICOM"
    with open_decompressed(path) as file:
        return detect_format(file)


def read_image(
    path: Path, assume_axes: bool, check_grid: GridCheck = accept_any_grid, entry: Entry | None = None
) -> ImageFile | None:
    """Reads a NIfTI, MetaImage or NRRD file, HU or labels alike, opening it once; None for DICOM.

    entry: the file of that folder or zip to read, in place of `path` itself.

    Raises:
        ScanError: when it is of no format that can be read, or damaged.
        ResourceError: when memory is not enough.
    """
    if entry is None and is_folder(path):
        return None
    opened = open_decompressed(path / entry.name, entry.open, entry.size) if entry else open_decompressed(path)
    try:
        with opened as file:
            match detect_format(file):
                case "NIfTI":
                    return read_nifti(file, assume_axes, check_grid)
                case "MetaImage":
                    return read_metaimage(file, check_grid)
                case "NRRD":
                    return read_nrrd(file, check_grid)
                case "DICOM":
                    return None
    except (BadZipFile, NotImplementedError) as error:  # of a zip's member
        raise ScanError(f"{path}: damaged zip ({error}); copy or export it again") from error


def is_folder(path: Path) -> bool:
    """Whether a path is a folder rather than a file. Raises ScanError when it is neither."""
    try:
        if path.is_dir():
            return True
        if not path.exists():
            link = " (a link that leads nowhere)" if path.is_symlink() else ""
            raise ScanError(f"{path}: no such file or folder{link}")
        if not path.is_file():
            raise ScanError(f"{path}: neither a file nor a folder")
    except OSError as error:
        raise ScanError(f"{str(path)[:200]}: cannot be opened ({error.strerror or error})") from error
    return False


def detect_format(file: OpenedFile) -> Format:
    """The format of an open file. Raises ScanError when it is none that can be read."""
    if is_nrrd(file.head):
        return "NRRD"
    if is_nifti(file.head):
        return "NIfTI"
    if file.head[:2] == ZIP_MAGIC or is_dicom(file.head):
        return "DICOM"
    if is_metaimage(file.head):
        return "MetaImage"
    if file.path.name.lower().endswith((".img", ".img.gz")):
        return "NIfTI"  # the voxels of a pair, whose reader turns to its .hdr
    raise ScanError(f"{file.path}: {_describe_unknown(file.path, file.head)}")


def _describe_unknown(path: Path, head: bytes) -> str:
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
