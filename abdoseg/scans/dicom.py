"""DICOM slices to one volume in HU. Under construction: plain series only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from abdoseg.errors import SeriesError
from abdoseg.volume import Geometry, Stored, Volume


def read_dicom(path: Path, *, series: str | None = None, gaps: str = "fill", keep: Sequence[str] = ()) -> Volume:
    """A plain series of axial slices."""
    import pydicom

    slices = []
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        try:
            ds = pydicom.dcmread(file)
            if ds.Modality == "CT" and "ImagePositionPatient" in ds and "LOCALIZER" not in ds.ImageType:
                slices.append(ds)
        except (pydicom.errors.InvalidDicomError, OSError, AttributeError):
            continue
    if len(slices) < 2:
        raise SeriesError(f"{path}: only {len(slices)} CT slices; a series of at least 2 is needed")
    row, column = np.reshape(np.array(slices[0].ImageOrientationPatient, float), (2, 3))
    normal = np.cross(row, column)
    slices.sort(key=lambda ds: float(np.dot(normal, np.array(ds.ImagePositionPatient, float))))
    first, last = (np.array(ds.ImagePositionPatient, float) for ds in (slices[0], slices[-1]))
    affine = np.eye(4)
    spacing = [float(n) for n in slices[0].PixelSpacing]
    affine[:3, 0], affine[:3, 1] = row * spacing[1], column * spacing[0]
    affine[:3, 2], affine[:3, 3] = (last - first) / (len(slices) - 1), first
    affine[:2] *= -1
    array = np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in slices])
    array = np.maximum(array, -1024).astype(np.int16)
    stored = Stored(Geometry(array.T.shape, affine))
    return Volume(stored.to_canonical(array.T), stored.canonical(), stored, (), {"format": "DICOM"})
