"""Coarse-to-fine inference: the region of interest from a downsampled image, and only that in full."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from abdoseg.image.components import Box, box_of, components, positive
from abdoseg.image.organ_maps import Margins, OrganMaps
from abdoseg.image.volume import Geometry
from abdoseg.inference.resources import MAX_TILE_VOXELS
from abdoseg.inference.sliding_window import body_box, sliding_window, tiles_of
from abdoseg.model.weights import Model
from abdoseg.runtime.progress import Track, silent

MARGIN_MM = 30.0  # around what the coarse look finds: see tests/benchmarks/locate.py
LEAST_ML = 1.0  # a smaller piece is no reason to look there
MISSED_ML = 20.0  # of an organ; where the coarse look found less, it may be anywhere beside the others, and within
MISSED_MM = 150.0  # above and below
CUT_MM2 = 100.0  # an organ's section with a face beyond which it must be looked for
WORTH_VOXELS = 4_000_000  # to compute, from which on a coarse look saves more than it takes


def coarse_to_fine(
    model: Model,
    image: npt.NDArray[np.float32],
    grid: Geometry,
    organs: tuple[str, ...],
    max_tile_voxels: int = MAX_TILE_VOXELS,
    track: Track = silent,
) -> OrganMaps:
    """The maps of `organs` in an image (I, J, K) of HU on `grid`; -1 outside the region of interest.

    Where an organ goes on beyond the region, that grows to the body's end, and is looked at again.
    """
    body = body_box(image, model.plan.window_hu[0])
    region = region_of_interest(model, image, organs, body, max_tile_voxels, track)
    while True:
        margins = sliding_window(model, image, organs, max_tile_voxels, region=region, track=track)
        grown = _grown(margins, region, body, model.plan.inference_spacing_mm or (1, 1, 1))
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
    """The box that holds the organs, with a margin, within the `body` of an image (I, J, K) of HU on the plan's grid.

    The network sees means of `plan.roi_downsampling` voxels along each axis. It is the whole body where that would save
    nothing, where the plan has no such number, for organs that the model does not deliver, and where nothing is found:
    then nothing is known. Where an organ is all but missing, the box goes to the body's sides, its front and its back.
    """
    plan, tiling = model.plan, tiles_of(model, image[body].shape, max_tile_voxels)
    if plan.roi_downsampling is None or plan.inference_spacing_mm is None or not set(organs) <= set(plan.output_organs):
        return body
    if tiling.computed < WORTH_VOXELS:
        return body
    coarse = sliding_window(
        model, _downsampled(image[body], plan.roi_downsampling), organs, max_tile_voxels, track=track
    )
    seen = positive(coarse)
    numbers, sizes = components(np.any(seen, axis=0, keepdims=True)[0])
    block_ml = float(np.prod(plan.inference_spacing_mm)) * plan.roi_downsampling**3 / 1000
    found = box_of((sizes * block_ml >= LEAST_ML)[numbers])
    if found is None:
        return body
    missed = min(np.count_nonzero(organ) for organ in seen) * block_ml < MISSED_ML
    margins_mm = (np.inf, np.inf, MISSED_MM) if missed else (MARGIN_MM,) * 3
    box = []
    for part, within, spacing, margin_mm in zip(found, body, plan.inference_spacing_mm, margins_mm, strict=True):
        margin = round(min(margin_mm / spacing, within.stop))
        start, stop = (within.start + end * plan.roi_downsampling for end in (part.start, part.stop))
        box.append(slice(max(within.start, start - margin), min(within.stop, stop + margin)))
    return box[0], box[1], box[2]


def _downsampled(image: npt.NDArray[np.float32], block: int) -> npt.NDArray[np.float32]:
    """The mean of blocks of so many voxels along each axis, those at the far ends of fewer."""
    blocks = F.avg_pool3d(torch.from_numpy(image.T)[None], block, ceil_mode=True)  # (1, K', J', I'): I is fastest
    return np.asarray(blocks[0].numpy().T)


def _grown(margins: Margins, region: Box, body: Box, spacing_mm: tuple[float, float, float]) -> Box:
    """The region, carried on to the body's end where an organ's section at its face is as large as CUT_MM2."""
    inside, box = margins[:, *region], []
    for axis, (part, whole) in enumerate(zip(region, body, strict=True)):
        pixel_mm2 = float(np.prod(spacing_mm)) / spacing_mm[axis]
        planes = np.moveaxis(inside, axis + 1, 0)
        sections = [max(np.count_nonzero(positive(organ)) for organ in planes[end]) for end in (0, -1)]
        first, last = (section * pixel_mm2 >= CUT_MM2 for section in sections)
        box.append(slice(whole.start if first else part.start, whole.stop if last else part.stop))
    return box[0], box[1], box[2]
