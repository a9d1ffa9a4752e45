"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr), read by SimpleITK after their headers were checked here.

Source: https://itk.org/Wiki/ITK/MetaIO/Documentation; https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from abdoseg.errors import ScanError
from abdoseg.scans.affines import is_usable, lps_to_ras, straightened
from abdoseg.scans.limits import check_promise, check_voxels
from abdoseg.scans.scan_file import ScanFile, scaled
from abdoseg.volume import Geometry, Stored

HEADER_BYTES = 2**20
META_TYPES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_LONG": 8,
    "MET_ULONG": 8, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
NRRD_TYPES = {
    "signed char": 1, "int8": 1, "int8_t": 1, "uchar": 1, "unsigned char": 1, "uint8": 1, "uint8_t": 1,
    "short": 2, "short int": 2, "signed short": 2, "signed short int": 2, "int16": 2, "int16_t": 2,
    "ushort": 2, "unsigned short": 2, "unsigned short int": 2, "uint16": 2, "uint16_t": 2,
    "int": 4, "signed int": 4, "int32": 4, "int32_t": 4, "uint": 4, "unsigned int": 4, "uint32": 4, "uint32_t": 4,
    "longlong": 8, "long long": 8, "int64": 8, "int64_t": 8, "ulonglong": 8, "uint64": 8, "uint64_t": 8,
    "float": 4, "double": 8,
}  # fmt: skip
COMPRESSED = {"raw": False, "gzip": True, "gz": True}


def read_other(path: Path, kind: str) -> ScanFile:
    """kind: 'MetaImage' or 'NRRD'. Raises ScanError, ResourceError."""
    (_check_meta if kind == "MetaImage" else _check_nrrd)(path)
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path), imageIO="MetaImageIO" if kind == "MetaImage" else "NrrdImageIO")
    except RuntimeError as error:
        raise ScanError(f"{path}: truncated or damaged {kind}; copy or export it again") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ScanError(f"{path}: {image.GetDimension()}-D with several numbers a voxel; extract one 3-D volume")
    raw = sitk.GetArrayFromImage(image).T  # (K, J, I) to (I, J, K)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    if not is_usable(affine):
        raise ScanError(f"{path}: its axes and spacing are impossible: the geometry is damaged; convert it again")
    affine, _ = straightened(lps_to_ras(affine), raw.shape)
    notes: list[str] = []
    details = {"format": kind, "stored_type": str(raw.dtype)}
    return ScanFile(scaled(raw, 1.0, 0.0, notes), Stored(Geometry(raw.shape, affine)), tuple(notes), details)


def _check_meta(path: Path) -> None:
    """The header: 'Key = value' lines up to ElementDataFile. Raises ScanError."""
    fields: dict[str, str] = {}
    end = 0
    for line in _head(path).split(b"\n"):
        end += len(line) + 1
        key, _, value = line.decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    else:
        raise ScanError(f"{path}: damaged MetaImage header: no ElementDataFile; copy or export it again")
    itemsize = META_TYPES.get(fields.get("ElementType", ""))
    shape = _sizes(path, fields.get("DimSize", ""))
    if itemsize is None or fields.get("ElementNumberOfChannels", "1") != "1":
        raise ScanError(f"{path}: voxels are {fields.get('ElementType', 'of no type')[:40]}, not one number each")
    packed = fields.get("CompressedData", "").lower() == "true"
    _check_data(path, fields["ElementDataFile"], "LOCAL", shape, itemsize, packed, end)


def _check_nrrd(path: Path) -> None:
    """The header: 'key: value' lines up to an empty one. Raises ScanError."""
    fields: dict[str, str] = {}
    end = 0
    for line in _head(path).split(b"\n"):
        end += len(line) + 1
        text = line.strip().decode("latin-1")
        if not text:
            break
        key, _, value = text.partition(":")
        fields[key.strip().lower()] = value.lstrip("=").strip()
    itemsize = NRRD_TYPES.get(fields.get("type", "").lower())
    shape = _sizes(path, fields.get("sizes", ""))
    if itemsize is None:
        raise ScanError(f"{path}: voxels are {fields.get('type', 'of no type')[:40]}, not one number each")
    if "space directions" not in fields:
        raise ScanError(
            f"{path}: does not say where its axes point (no 'space directions'), so left and right are unknown"
        )
    encoding = fields.get("encoding", "").lower()
    if encoding not in COMPRESSED:
        raise ScanError(f"{path}: encoding {encoding[:20]!r} is not read; save it as raw or gzip")
    data = fields.get("data file", fields.get("datafile", ""))
    _check_data(path, data, "", shape, itemsize, COMPRESSED[encoding], end)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEADER_BYTES)
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror or error})") from error


def _sizes(path: Path, text: str) -> tuple[int, ...]:
    """Three numbers, each 2 or more."""
    parts = text.split()
    if not parts or not all(part.isascii() and part.isdigit() and len(part) < 12 for part in parts):
        raise ScanError(f"{path}: damaged header: the size is {text[:40]!r}")
    shape = tuple(int(part) for part in parts)
    size = " x ".join(parts[:8])
    if len(shape) != 3:
        raise ScanError(f"{path}: {len(shape)}-D ({size}); a 3-D volume is needed: extract the one to be used")
    if min(shape) < 2:
        raise ScanError(f"{path}: only one slice ({size}); a volume of at least 2 slices is needed")
    return shape


def _check_data(
    path: Path, name: str, here: str, shape: tuple[int, ...], itemsize: int, packed: bool, header_bytes: int
) -> None:
    """The voxels' file is the header's own or one beside it, and large enough for what is promised."""
    if name == here:
        check_promise(str(path), shape, itemsize, path.stat().st_size - header_bytes, packed)
    else:
        data = path.parent / name
        if Path(name).name != name or name.upper().startswith("LIST") or "%" in name:
            raise ScanError(f"{path}: its voxels lie in several files or in another folder; save it as one file")
        if not data.is_file():
            raise ScanError(f"{path}: its voxels, {name}, are missing; keep both files together")
        check_promise(str(data), shape, itemsize, data.stat().st_size, packed)
    check_voxels(str(path), shape)
    if math.prod(shape) == 0:
        raise ScanError(f"{path}: no voxels")
