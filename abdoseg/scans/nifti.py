"""NIfTI-1 and NIfTI-2 files, single or in pairs, plain or gzipped, of either byte order: read and written.

Source: nifti1.h and nifti2.h of the NIfTI Data Format Working Group, https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from abdoseg.errors import GeometryError, ScanError
from abdoseg.scans.limits import check_promise
from abdoseg.volume import Affine, Array, Geometry, Stored

if TYPE_CHECKING:
    from collections.abc import Iterator

GZIP = b"\x1f\x8b"
SIZES = {348: 1, 540: 2}  # sizeof_hdr to version
MAGIC = {b"n+1\0": "single", b"ni1\0": "pair", b"n+2\0": "single", b"ni2\0": "pair"}
# Datatype codes that hold one number a voxel. Source: nifti1.h, DT_*.
NUMBERS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
OTHERS = {
    1: "bits",
    32: "complex",
    128: "RGB colour",
    1536: "long double",
    1792: "complex",
    2048: "complex",
    2304: "RGBA colour",
}
MAX_OFFSET = 2**26  # extensions before the voxels; 64 MiB is already absurd


@dataclass(frozen=True, eq=False)
class NiftiFile:
    """What a NIfTI file holds, scaled: array (I, J, K) in stored axes, int16 or float32."""

    array: Array
    stored: Stored
    notes: tuple[str, ...]
    details: dict[str, Any]


def read_nifti(path: Path, assume_axes: bool = False) -> NiftiFile:
    """Reads a NIfTI file whole, in its own axes, with slope and intercept applied.

    assume_axes: take a file that does not say where its axes point (sform and qform codes 0) as left, anterior,
    superior, the customary reading. Raises ScanError, ResourceError.
    """
    header, kind = read_header(path)
    notes: list[str] = []
    shape = _shape(path, header)
    affine, source = _affine(path, header, shape, assume_axes, notes)
    image = _image_path(path) if kind == "pair" else path
    raw = _voxels(image, header, shape, kind)
    array = scaled(raw, *_slope(header), notes=notes)
    try:
        geometry = Geometry(shape, affine)
    except GeometryError as error:
        raise ScanError(f"{path}: {error}") from error
    details = {
        "format": f"NIfTI-{SIZES[int(header['sizeof_hdr'])]}",
        "stored_type": str(raw.dtype.newbyteorder("=")),
        "affine_from": source,
    }
    return NiftiFile(array, Stored(geometry, header), tuple(notes), details)


def read_header(path: Path) -> tuple[Any, str]:
    """The header as nibabel's header object, and 'single' or 'pair'. Raises ScanError."""
    import nibabel

    with opened(path) as stream:
        block = _read(stream, 540)
    if len(block) < 348:
        raise ScanError(f"{path}: {len(block)} bytes are too few for a NIfTI header; the file is damaged or no scan")
    for order in "<>":
        size = int(np.frombuffer(block[:4], order + "i4")[0])
        version = SIZES.get(size)
        if version is None:
            continue
        magic = block[344:348] if version == 1 else block[4:8]
        if magic not in MAGIC:
            raise ScanError(f"{path}: an Analyze 7.5 file, or damaged: it does not say where its axes point; use NIfTI")
        if len(block) < size:
            raise ScanError(f"{path}: truncated inside its NIfTI-2 header; copy or export it again")
        kind = MAGIC[magic]
        layout = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
        return layout(block[:size], endianness=order, check=False), kind
    raise ScanError(f"{path}: not a NIfTI file (it starts with {block[:4].hex(' ')}); is the suffix right?")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, gunzipped when they are gzip, whatever the suffix. Foreign errors become ScanError."""
    from isal import igzip

    try:
        with path.open("rb") as file:
            if not file.peek(2):
                raise ScanError(f"{path}: the file is empty; copy or export it again")
            if file.peek(2)[:2] == GZIP:
                with igzip.GzipFile(fileobj=file, mode="rb") as stream:
                    yield stream
            else:
                yield file
    except FileNotFoundError as error:
        raise ScanError(f"{path}: no such file") from error
    except (EOFError, zlib.error, igzip.BadGzipFile) as error:
        raise ScanError(f"{path}: truncated or damaged gzip ({error}); copy or export it again") from error
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror or error})") from error


def is_gzip(path: Path) -> bool:
    """Whether the file begins as gzip does."""
    with path.open("rb") as file:
        return file.read(2) == GZIP


def _read(stream: IO[bytes], count: int) -> bytes:
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
    if len(dim) < 3 or 1 in dim:
        raise ScanError(f"{path}: only one slice ({size}); a volume of at least 2 slices is needed")
    code = int(header["datatype"])
    if code not in NUMBERS:
        raise ScanError(
            f"{path}: voxels are {OTHERS.get(code, f'of unknown type {code}')}, not HU; export plain numbers"
        )
    return dim[0], dim[1], dim[2]


def _image_path(path: Path) -> Path:
    """The .img of a .hdr, in the same letter case, gzipped or not. Raises ScanError."""
    stem, suffix = (path.with_suffix(""), ".gz") if path.suffix.lower() == ".gz" else (path, "")
    for name in (".img", ".IMG", ".img.gz"):
        if (candidate := stem.with_suffix(name)).is_file():
            return candidate
    raise ScanError(
        f"{path}: its voxels, {stem.with_suffix('.img' + suffix).name}, are missing; keep both files together"
    )


def _voxels(path: Path, header: Any, shape: tuple[int, int, int], kind: str) -> Array:
    """The stored numbers, (I, J, K), first axis fastest, as they lie in the file."""
    dtype = np.dtype(NUMBERS[int(header["datatype"])]).newbyteorder(header.endianness)
    least = 0 if kind == "pair" else {348: 352, 540: 544}[int(header["sizeof_hdr"])]
    offset = float(header["vox_offset"])
    if not (0 <= offset <= MAX_OFFSET):
        raise ScanError(f"{path}: damaged header: the voxels are said to start at byte {offset:g}")
    skip = max(int(offset), least)
    check_promise(str(path), shape, dtype.itemsize, path.stat().st_size, is_gzip(path))
    array = np.empty(int(np.prod(shape)), dtype)
    view = memoryview(array).cast("B") if dtype.isnative else memoryview(array.view("u1"))
    with opened(path) as stream:
        _read(stream, skip)
        done = 0
        while done < len(view) and (count := stream.readinto(view[done:])):  # type: ignore[attr-defined]
            done += count
        if done < len(view):
            raise ScanError(f"{path}: truncated: {done:,} of {len(view):,} bytes of voxels; copy or export it again")
        if not isinstance(stream, BufferedReader):
            stream.read(1)  # the end of a gzip stream is where its checksum is checked
    return array.reshape(shape, order="F")


def _slope(header: Any) -> tuple[float, float]:
    """scl_slope and scl_inter; slope 0 means that the numbers are to be taken as they are."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope) or not np.isfinite(intercept):
        return 1.0, 0.0
    return slope, intercept


def scaled(raw: Array, slope: float, intercept: float, notes: list[str]) -> Array:
    """slope * raw + intercept as int16 where that is exact, otherwise float32.

    Voxels that are no numbers become -1024, and a note says how many.
    """
    if raw.dtype.kind in "iu" and slope % 1 == 0 == intercept % 1 and max(abs(slope), abs(intercept)) < 65536:
        low, high = (int(raw.min()) * slope + intercept, int(raw.max()) * slope + intercept)
        if max(abs(low), abs(high)) < 32767:
            if (slope, intercept) == (1.0, 0.0):
                return raw.astype(np.int16, copy=False)
            wide = raw.astype(np.int32) * np.int32(slope) + np.int32(intercept)
            return wide.astype(np.int16)
    array: npt.NDArray[np.float32] = raw.astype(np.float32)
    if (slope, intercept) != (1.0, 0.0):
        array *= np.float32(slope)
        array += np.float32(intercept)
    if raw.dtype.kind == "f":
        bad = ~np.isfinite(array)
        if count := int(bad.sum()):
            array[bad] = -1024
            notes.append(f"{count:,} voxels were no numbers (NaN or infinite) and are taken as air, -1024 HU")
    return array


def _affine(
    path: Path, header: Any, shape: tuple[int, int, int], assume_axes: bool, notes: list[str]
) -> tuple[Affine, str]:
    """Voxel indices to RAS mm, and which field it comes from: the sform wins, then the qform.

    Source: nifti1.h, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE", methods 2 and 3.
    """
    sform = _sform(header) if int(header["sform_code"]) > 0 else None
    qform = _qform(header, notes) if int(header["qform_code"]) > 0 else None
    chosen, source = (sform, "sform") if sform is not None else (qform, "qform")
    if sform is None and int(header["sform_code"]) > 0 and qform is not None:
        notes.append("the sform cannot be inverted; the qform is used")
    if chosen is None and assume_axes:
        chosen, source = np.asarray(header.get_base_affine(), np.float64), "assumed"
        notes.append("the file does not say where its axes point: taken as left, anterior, superior")
        if abs(np.linalg.det(chosen[:3, :3])) < 1e-9:
            raise ScanError(
                f"{path}: the voxel size {header['pixdim'][1:4].tolist()} mm is impossible; export it again"
            )
    if chosen is None and int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise ScanError(
            f"{path}: the file does not say where its axes point (sform_code and qform_code are 0), so left and right "
            "are unknown; convert it again from DICOM, or pass --assume-axes if it is left, anterior, superior"
        )
    if chosen is None:
        raise ScanError(f"{path}: its sform and qform cannot be inverted: the geometry is damaged; convert it again")
    if sform is not None and qform is not None:
        apart = Geometry(shape, sform).distance_mm(Geometry(shape, qform))
        if apart > 0.5:
            notes.append(f"sform and qform disagree by {apart:.1f} mm; the sform is used")
    return _repaired(_in_mm(chosen, header, notes), shape, notes), source


def _sform(header: Any) -> Affine | None:
    """None when it cannot be inverted."""
    affine = np.vstack([header["srow_x"], header["srow_y"], header["srow_z"], [0, 0, 0, 1]]).astype(np.float64)
    return affine if _invertible(affine) else None


def _qform(header: Any, notes: list[str]) -> Affine | None:
    """None when it cannot be inverted. A quaternion longer than 1 is scaled back, with a note."""
    from nibabel.quaternions import quat2mat

    bcd = np.array([float(header[f"quatern_{axis}"]) for axis in "bcd"])
    length = float(np.linalg.norm(bcd))
    if length > 1:
        if length > 1.001:
            notes.append(f"the qform's quaternion has length {length:.3f} and was scaled to 1")
        bcd /= length
    w = np.sqrt(max(0.0, 1.0 - float(bcd @ bcd)))
    spacing = np.abs(header["pixdim"][1:4].astype(np.float64))
    affine = np.eye(4)
    if not np.isfinite(bcd).all():
        return None
    affine[:3, :3] = quat2mat([w, *bcd]) * spacing
    affine[:3, 2] *= -1 if float(header["pixdim"][0]) < 0 else 1  # qfac
    affine[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    return affine if _invertible(affine) else None


def _invertible(affine: Affine) -> bool:
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9)


def _in_mm(affine: Affine, header: Any, notes: list[str]) -> Affine:
    """Metres or micrometres to millimetres, when xyzt_units says so and a body results."""
    unit, factor = {1: ("metres", 1e3), 3: ("micrometres", 1e-3)}.get(int(header["xyzt_units"]) & 7, ("", 1.0))
    spacing = np.linalg.norm(affine[:3, :3], axis=0) * factor
    if unit and spacing.min() > 0.05 and spacing.max() < 50:
        notes.append(f"the file is in {unit}; taken to millimetres")
        affine = affine.copy()
        affine[:3] *= factor
    return affine


def _repaired(affine: Affine, shape: tuple[int, int, int], notes: list[str]) -> Affine:
    """Axes that miss right angles by rounding alone are made orthogonal; a real shear is kept and noted.

    The nearest orthogonal axes by polar decomposition (Higham 1986, doi:10.1137/0907079) replace the stored ones
    when no corner of the grid moves by more than 0.1 mm.
    """
    geometry = Geometry(shape, affine)
    if geometry.shear_degrees < 1e-3:
        return affine
    u, _, vt = np.linalg.svd(affine[:3, :3] / geometry.spacing_mm)
    straight = affine.copy()
    straight[:3, :3] = (u @ vt) * geometry.spacing_mm
    centre = (np.array(shape) - 1) / 2
    straight[:3, 3] += (affine[:3, :3] - straight[:3, :3]) @ centre
    moved = geometry.distance_mm(Geometry(shape, straight))
    if moved <= 0.1:
        notes.append(f"the axes missed right angles by {geometry.shear_degrees:.4f} degrees and were made orthogonal")
        return straight
    notes.append(f"the axes are sheared by {geometry.shear_degrees:.2f} degrees; kept as they are")
    return affine
