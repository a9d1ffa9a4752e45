"""Images in memory to Volumes: nibabel and SimpleITK images, taken without importing either library here."""

from __future__ import annotations

from typing import Any

import numpy as np

from abdoseg.errors import ScanError
from abdoseg.image.affines import lps_to_ras
from abdoseg.image.volume import Array, Geometry, Stored, Volume
from abdoseg.io.image_file import apply_scale, non_finite_notes
from abdoseg.io.read import with_checked_hu


def is_nibabel(image: object) -> bool:
    """Whether an object is a nibabel image."""
    return hasattr(image, "dataobj") and hasattr(image, "affine")


def is_sitk(image: object) -> bool:
    """Whether an object is a SimpleITK image."""
    return type(image).__module__.startswith("SimpleITK") and hasattr(image, "GetDirection")


def volume_from_nibabel(image: Any) -> Volume:
    """The CT of a nibabel image, a copy of its voxels. A NIfTI header is kept for what is written later.

    Raises:
        ScanError: it is not a 3-D CT in HU, or says nowhere where it lies.
    """
    if image.affine is None:
        raise ScanError("the nibabel image has no affine; give one that says where its voxels lie")
    magic = getattr(image.header, "get", lambda _: None)("magic")
    stored = image.header.structarr.copy() if magic is not None and magic.tobytes().startswith(b"n") else None
    if stored is not None and int(stored["sform_code"]) <= 0 and int(stored["qform_code"]) <= 0:
        raise ScanError(
            "the nibabel image does not say where its axes point (sform_code and qform_code are 0): its affine is "
            "nibabel's guess; set the right one with set_sform"
        )
    return _volume("the nibabel image", np.asanyarray(image.dataobj), np.asarray(image.affine, np.float64), stored)


def volume_from_sitk(image: Any) -> Volume:
    """The CT of a SimpleITK image, a copy of its voxels. Raises ScanError when it is not a 3-D CT in HU."""
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ScanError(
            f"the SimpleITK image has {image.GetDimension()} dimensions and "
            f"{image.GetNumberOfComponentsPerPixel()} components; a 3-D image of one is needed"
        )
    from SimpleITK import GetArrayViewFromImage

    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return _volume("the SimpleITK image", GetArrayViewFromImage(image).T, lps_to_ras(affine), None)


def _volume(name: str, voxels: Array, affine: Array, header: Any) -> Volume:
    """The canonical volume of an array (I, J, K), or with further axes of 1, in an image's own axes."""
    if voxels.dtype.kind not in "iuf":
        raise ScanError(f"{name} has voxels of type {voxels.dtype}, not HU; give plain numbers")
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3 or min(voxels.shape) < 2:
        size = " x ".join(map(str, voxels.shape))
        raise ScanError(f"{name} is {size}; a volume of at least 2 voxels along each of three axes is needed")
    hu, bad = apply_scale(np.array(voxels, order="F"), 1.0, 0.0)
    i, j, k = voxels.shape
    stored = Stored(Geometry((i, j, k), affine), header)
    volume = Volume(stored.to_canonical(hu), stored.canonical(), stored, non_finite_notes(bad))
    return with_checked_hu(name, volume)
