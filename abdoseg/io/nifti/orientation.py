"""NIfTI orientation: the affine from sform or qform, refused when neither is set, repaired when damaged.

Source: nifti1.h, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE", methods 1 to 3.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from abdoseg.errors import ScanError
from abdoseg.image.affines import is_usable, straightened
from abdoseg.image.volume import Affine, Geometry
from abdoseg.io.image_file import Remark
from abdoseg.io.nifti.header import rotation

HALF_TURN = 3.6e-7  # a quaternion stored in 32 bits that is nearer to length 1 has no real part; as in nibabel


def nifti_affine(
    path: Path, header: Any, shape: tuple[int, int, int], assume_axes: bool, notes: list[str]
) -> tuple[Affine, str, float]:
    """The affine, voxel indices to RAS mm, the field that it comes from, and the mm in one of the header's units.

    The sform is taken before the qform.

    Source: nifti1.h, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE", methods 2 and 3.
    """
    sform = _sform(header) if int(header["sform_code"]) > 0 else None
    qform = _qform(header, notes) if int(header["qform_code"]) > 0 else None
    chosen, source = (sform, "sform") if sform is not None else (qform, "qform")
    if sform is None and int(header["sform_code"]) > 0 and qform is not None:
        notes.append("the sform cannot be inverted; the qform is used")
    if chosen is None and assume_axes:
        chosen, source = _assumed(header, shape), "assumed"
        notes.append("the file does not say where its axes point: taken as left, anterior, superior")
        if not is_usable(chosen):
            raise ScanError(
                f"{path}: the voxel size {header['pixdim'][1:4].tolist()} mm is impossible; export it again"
            )
    if chosen is None and int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise ScanError(
            f"{path}: the file does not say where its axes point (sform_code and qform_code are 0), so left and right "
            "are unknown; convert it again from DICOM, copy the header of the scan that it lies on, or, where the "
            "command has it, pass --assume-axes if it is left, anterior, superior"
        )
    if chosen is None:
        raise ScanError(f"{path}: its sform and qform cannot be inverted: the geometry is damaged; convert it again")
    if sform is not None and qform is not None:
        apart = Geometry(shape, sform).distance_mm(Geometry(shape, qform))
        if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
            notes.append("sform and qform are mirror images: one has left and right exchanged; the sform is used")
        elif apart > 0.5:
            notes.append(f"sform and qform disagree by {apart:.1f} mm; the sform is used")
    factor = _unit_mm(chosen, header, notes)
    affine = np.diag([factor, factor, factor, 1.0]) @ chosen
    return _repaired(affine, shape, notes), source, factor


def _sform(header: Any) -> Affine | None:
    """None when it cannot be inverted."""
    affine = np.vstack([header["srow_x"], header["srow_y"], header["srow_z"], [0, 0, 0, 1]]).astype(np.float64)
    return affine if is_usable(affine) else None


def _qform(header: Any, notes: list[str]) -> Affine | None:
    """None when it cannot be inverted. A quaternion longer than 1 is scaled back, with a note."""
    bcd = np.array([float(header[f"quatern_{axis}"]) for axis in "bcd"])
    if not np.isfinite(bcd).all():
        return None
    length = math.hypot(*bcd)  # which does not overflow, as a sum of squares does
    if not np.isfinite(length):
        return None
    if length > 1.001:
        notes.append(f"the qform's quaternion has length {length:.3f} and was scaled to 1")
    rest = 1.0 - length * length
    if rest < HALF_TURN:
        bcd, rest = bcd / length, 0.0
    w = np.sqrt(rest)
    spacing = np.abs(header["pixdim"][1:4].astype(np.float64))
    if not np.isfinite(spacing).all():
        return None
    affine = np.eye(4)
    affine[:3, :3] = rotation(w, *bcd) * spacing
    affine[:3, 2] *= -1 if float(header["pixdim"][0]) < 0 else 1  # qfac
    affine[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    return affine if is_usable(affine) else None


def _assumed(header: Any, shape: tuple[int, int, int]) -> Affine:
    """Method 1 with the axes left, anterior, superior, the grid's middle at the origin."""
    affine = np.diag([*(np.abs(header["pixdim"][1:4].astype(np.float64)) * (-1, 1, 1)), 1.0])
    affine[:3, 3] = affine[:3, :3] @ ((1 - np.array(shape)) / 2)
    return affine


def _unit_mm(affine: Affine, header: Any, notes: list[str]) -> float:
    """The mm in one of the header's units: of metres or micrometres when xyzt_units says so and a body results."""
    unit, factor = {1: ("metres", 1e3), 3: ("micrometres", 1e-3)}.get(int(header["xyzt_units"]) & 7, ("", 1.0))
    spacing = np.linalg.norm(affine[:3, :3], axis=0) * factor
    if not unit:
        return 1.0
    if spacing.min() > 0.05 and spacing.max() < 50:
        notes.append(f"the file is in {unit}; taken to millimetres")
        return factor
    notes.append(f"the file says that it is in {unit}, which no body fits; taken as millimetres")
    return 1.0


def _repaired(affine: Affine, shape: tuple[int, int, int], notes: list[str]) -> Affine:
    """Axes that miss right angles by rounding alone are made orthogonal; a real shear is kept. Both are noted."""
    straight, shear = straightened(affine, shape)
    if shear > 0.001 and straight is not affine:
        notes.append(Remark(f"the axes missed right angles by {shear:.4f} degrees and were made orthogonal"))
    elif straight is affine and shear > 0.01:
        notes.append(Remark(f"the axes are sheared by {shear:.2f} degrees; kept as they are"))
    return straight
