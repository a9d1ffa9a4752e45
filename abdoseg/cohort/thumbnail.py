"""Thumbnails for the index page: one small slice of a case with its organs outlined, as JPEG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from abdoseg.image.volume import Labelmap, Volume
from abdoseg.rendering.slices import Plane, SliceStyle, draw_slice, fit_view
from abdoseg.runtime.files import writing

FOLDER = "previews"
SIZE_PX = (96, 128)
QUALITY = 70  # of JPEG, about 3 KB
COARSE = 4  # every fourth voxel of a slice tells where most of the organs lies
SLAB = 0.4  # of the width: a scan that is less tall is a slab


def thumbnail_path(folder: Path, case: str) -> Path:
    """Where a case's thumbnail lies in its results' folder."""
    return folder / FOLDER / f"{case}.jpg"


def draw_thumbnail(volume: Volume, labelmap: Labelmap) -> Image.Image:
    """The slice that holds most of the organs, or the middle one without any: coronal, axial of a thin slab."""
    plane: Plane
    extent = labelmap.geometry.spacing_mm * labelmap.geometry.shape
    if extent[2] < SLAB * extent[0]:
        plane, profile = "axial", np.count_nonzero(labelmap.labels[::COARSE, ::COARSE], axis=(0, 1))
    else:
        plane, profile = "coronal", np.count_nonzero(labelmap.labels[::COARSE, :, ::COARSE], axis=(0, 2))
    index = int(profile.argmax()) if profile.any() else len(profile) // 2
    view = fit_view(labelmap.geometry, plane, SIZE_PX)
    return Image.fromarray(
        draw_slice(view, index, volume.voxels, labelmap.labels, labelmap.organs, SliceStyle(overlay="contour"))
    )


def write_thumbnail(volume: Volume, labelmap: Labelmap, folder: Path, case: str) -> None:
    """Draws a case's thumbnail into its results' folder, in the place of a former one. Raises OutputError."""
    with writing(thumbnail_path(folder, case), overwrite=True) as temporary:
        thumbnail = draw_thumbnail(volume, labelmap)
        thumbnail.save(temporary, "JPEG", quality=QUALITY, subsampling=0)  # with it, outlines lose their colour
