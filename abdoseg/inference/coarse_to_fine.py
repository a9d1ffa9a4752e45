"""Coarse-to-fine inference: the region of interest is found on a downsampled image, the rest is never computed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.image.components import Box, box_of, components, positive
from abdoseg.image.organ_maps import Margins, OrganMaps
from abdoseg.image.volume import Geometry
from abdoseg.inference.resources import MAX_TILE_VOXELS
from abdoseg.inference.sliding_window import body_box, sliding_window, tiling_for
from abdoseg.model.weights import Model
from abdoseg.runtime.progress import Track, silent

PADDING_MM = 20.0  # around what the coarse pass finds: see tests/benchmarks/coarse_to_fine.py
MIN_PIECE_ML = 1.0  # of what the coarse pass finds; smaller pieces are ignored
MISSING_ML = 5.0  # where the coarse pass finds less of an organ, the region goes to the body's sides, front and back
MISSING_PADDING_MM = 150.0  # above and below it then
CUT_MM2 = 100.0  # an organ's section with a face of the region from which the region grows beyond that face
WORTH_VOXELS = 4_000_000  # to compute, from which on a coarse pass saves more than it takes


def coarse_to_fine(
    model: Model,
    image: npt.NDArray[np.float32],
    grid: Geometry,
    organs: tuple[str, ...],
    max_tile_voxels: int = MAX_TILE_VOXELS,
    track: Track = silent,
) -> OrganMaps:
    """The maps of `organs` in an image (I, J, K) of HU on `grid`; margins are -1 outside the region of interest.

    Where an organ is cut by a face of the region, the region grows to the body's end and is computed again.
    """
    body = body_box(image, model.plan.window_hu[0])
    region = region_of_interest(model, image, organs, body, max_tile_voxels, track)
    while True:
        margins = sliding_window(model, image, organs, max_tile_voxels, region=region, track=track)
        grown = _grow_where_cut(margins, region, body, model.plan.inference_spacing_mm or (1, 1, 1))
        if grown == region:
            return OrganMaps(margins, organs, grid)
        region = grown


def region_of_interest(
    model: Model,
    image: npt.NDArray[np.float32],
    organs: tuple[str, ...],
    body: Box,
    max_tile_voxels: int = MAX_TILE_VOXELS,
    track: Track = silent,
) -> Box:
    """The box, padded, that holds the organs in an image (I, J, K) of HU on the plan's grid, by a coarse pass.

    The network sees the image downsampled by `plan.roi_downsampling`. The box is the whole body where the plan has no
    such number, for organs other than the plan's output organs, where a coarse pass would save nothing, and where it
    finds nothing. Where it all but misses an organ, the box goes to the body's sides, front and back. Lesions are
    looked for where their organs are.

    Args:
        body: what is searched.
        max_tile_voxels: as for `sliding_window`.
    """
    plan, tiling = model.plan, tiling_for(model, image[body].shape, max_tile_voxels)
    organs = tuple(organ for organ in organs if not (organ in BY_NAME and BY_NAME[organ].is_lesion))
    factor, spacing_mm = plan.roi_downsampling, plan.inference_spacing_mm
    if factor is None or spacing_mm is None or not organs or not set(organs) <= set(plan.output_organs):
        return body
    if tiling.computed_voxels < WORTH_VOXELS or min(image[body].shape) < factor:
        return body
    coarse = sliding_window(model, _downsample(image[body], factor), organs, max_tile_voxels, track=track)
    masks = positive(coarse)
    pieces, sizes = components(np.any(masks, axis=0, keepdims=True)[0])
    coarse_voxel_ml = float(np.prod(spacing_mm)) * factor**3 / 1000
    found = box_of((sizes * coarse_voxel_ml >= MIN_PIECE_ML)[pieces])
    if found is None:
        return body
    missing = min(np.count_nonzero(mask) for mask in masks) * coarse_voxel_ml < MISSING_ML
    paddings_mm = (np.inf, np.inf, MISSING_PADDING_MM) if missing else (PADDING_MM,) * 3
    region = []
    for part, whole, spacing, padding_mm in zip(found, body, spacing_mm, paddings_mm, strict=True):
        padding = round(min(padding_mm / spacing, whole.stop))
        start, stop = (whole.start + end * factor for end in (part.start, part.stop))
        region.append(slice(max(whole.start, start - padding), min(whole.stop, stop + padding)))
    return region[0], region[1], region[2]


def _downsample(image: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """The means of blocks of so many voxels along each axis, of fewer at the far ends."""
    means = F.avg_pool3d(torch.from_numpy(image.T)[None], factor, ceil_mode=True)  # (1, K', J', I'): I is fastest
    return np.asarray(means[0].numpy().T)


def _grow_where_cut(margins: Margins, region: Box, body: Box, spacing_mm: tuple[float, float, float]) -> Box:
    """The region, grown to the body's end beyond each face where an organ's section has CUT_MM2 or more."""
    inside, box = margins[:, *region], []
    for axis, (part, whole) in enumerate(zip(region, body, strict=True)):
        pixel_mm2 = float(np.prod(spacing_mm)) / spacing_mm[axis]
        planes = np.moveaxis(inside, axis + 1, 0)
        sections = [max(np.count_nonzero(positive(organ)) for organ in planes[end]) for end in (0, -1)]
        first, last = (section * pixel_mm2 >= CUT_MM2 for section in sections)
        box.append(slice(whole.start if first else part.start, whole.stop if last else part.stop))
    return box[0], box[1], box[2]
