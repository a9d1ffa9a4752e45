"""Sliding window inference: from an image on the network's grid to a margin for each organ, positive where it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from abdoseg.image.components import Box
from abdoseg.image.organ_maps import Margins
from abdoseg.inference.backend import fuse_model, precision
from abdoseg.inference.resources import MAX_TILE_VOXELS
from abdoseg.inference.tiling import Shape, Tiling, cheapest_tiling
from abdoseg.model.device import fastest_float
from abdoseg.model.plan import Plan
from abdoseg.model.weights import Model
from abdoseg.runtime.progress import Track, silent

OVERLAP = 0.25  # of neighbouring tiles, as a fraction of a patch
CONTEXT = 8  # voxels around the body that the network sees
SPARSE = 0.005  # fraction of voxels above the window's floor below which a plane or tile is air


_fused = lru_cache(maxsize=4)(fuse_model)  # the next scan's tiles are often of the same size


def sliding_window(
    model: Model,
    image: npt.NDArray[np.float32],
    organs: tuple[str, ...] | None = None,
    max_tile_voxels: int = MAX_TILE_VOXELS,
    overlap: float = OVERLAP,
    region: Box | None = None,
    track: Track = silent,
) -> Margins:
    """The margins (D, I, J, K) of organs in an image (I, J, K) of HU on the plan's grid; see OrganMaps.

    Args:
        organs: channels of the network; the plan's output organs when None.
        max_tile_voxels: the network's memory is proportional to it.
        overlap: of neighbouring tiles, as a fraction of a patch.
        region: the box to compute, the body's when None; margins are -1 outside, and not above 0 in tiles of air.
    """
    organs = organs or model.plan.output_organs
    floor = model.plan.window_hu[0]
    region = region or body_box(image, floor)
    inside = image[region]
    tiling = tiling_for(model, inside.shape, max_tile_voxels, overlap)
    run = _tile_function(model, [1 + model.plan.organs.index(organ) for organ in organs], tiling.size)
    margins = torch.full((len(organs), *image.shape), -1.0, dtype=torch.float16, device=model.device)
    blended = margins[:, *region]
    if len(tiling) > 1:
        blended.zero_()
    for box, weight in track(list(tiling.tiles()), "network"):
        voxels, where, within = _cut(inside, box, floor)
        if (voxels > floor).mean() < SPARSE:
            continue
        tile = run(torch.from_numpy(_normalise(voxels, model.plan))[None, None].to(model.device))[:, *within]
        if len(tiling) == 1:
            blended[:, *where] = tile
        else:
            blended[:, *where] += tile * torch.from_numpy(weight[within]).to(tile)
    return margins.cpu().numpy()


def tiling_for(model: Model, shape: Shape, max_tile_voxels: int = MAX_TILE_VOXELS, overlap: float = OVERLAP) -> Tiling:
    """The tiles in which the model computes an image of that shape."""
    multiples = getattr(model.network, "multiples", (1, 1, 1))
    return cheapest_tiling(shape, model.plan.patch, multiples, overlap, max_tile_voxels)


def body_box(image: npt.NDArray[np.float32], floor: float) -> Box:
    """The box of planes that hold more than air, with CONTEXT around; the whole image when all are air."""
    dense = (image > floor).view(np.uint8)
    above, along = dense.sum(axis=2, dtype=np.uint16), dense.sum(axis=1, dtype=np.uint16)  # (I, J) and (I, K)
    spans = []
    for counts in (along.sum(axis=1), above.sum(axis=0), along.sum(axis=0)):
        length = len(counts)
        filled = np.flatnonzero(counts > SPARSE * (dense.size / length))
        if not len(filled):
            return slice(0, image.shape[0]), slice(0, image.shape[1]), slice(0, image.shape[2])
        spans.append(slice(max(0, int(filled[0]) - CONTEXT), min(length, int(filled[-1]) + 1 + CONTEXT)))
    return spans[0], spans[1], spans[2]


def _tile_function(model: Model, channels: list[int], size: Shape) -> Callable[[Tensor], Tensor]:
    """(1, 1, *size) scaled image -> (D, I, J, K) float16 margins of the channels, the fastest way on the device."""
    network, kind, dtype = model.network.eval(), model.device.type, fastest_float(model.device)
    order = (*channels, *(c for c in range(len(model.plan.organs) + 1) if c not in channels))
    fused = _fused(model, precision(model), size, order) if kind == "cpu" else None

    @torch.inference_mode()
    def run(image: Tensor) -> Tensor:
        if fused is not None:
            return fused(image, lambda logits: margins_of(logits, len(channels)))
        with torch.autocast(kind, dtype=dtype, enabled=dtype != torch.float32):
            logits = network(image)[0]
        return margins_of(logits[list(order)], len(channels)).to(torch.float16)

    return run


def margins_of(logits: Tensor, count: int) -> Tensor:
    """(count, ...) each of the first channels' logits less the best of all others, of logits (C, ...).

    Background is among the others: count is less than C.
    """
    channels = logits[:count].unbind()
    before = list(accumulate(channels[:-1], torch.maximum, initial=logits[count:].amax(dim=0)))
    after = list(accumulate(reversed(channels[1:]), torch.maximum))[::-1]
    others = [*map(torch.maximum, before, after), before[-1]]
    margins = torch.empty_like(logits[:count])
    for channel, other, out in zip(channels, others, margins, strict=True):
        torch.sub(channel, other, out=out)
    return margins


def _cut(image: npt.NDArray[np.float32], box: Box, fill: float) -> tuple[npt.NDArray[np.float32], Box, Box]:
    """The box's voxels, `fill` beyond the image; the part of the image that the box covers, and where in the box."""
    where = [slice(max(0, b.start), min(n, b.stop)) for b, n in zip(box, image.shape, strict=True)]
    within = [slice(w.start - b.start, w.stop - b.start) for w, b in zip(where, box, strict=True)]
    voxels = image[tuple(where)]
    pad = [(w.start, b.stop - b.start - w.stop) for w, b in zip(within, box, strict=True)]
    if any(sum(ends) for ends in pad):
        voxels = np.pad(voxels, pad, constant_values=fill)
    return voxels, (where[0], where[1], where[2]), (within[0], within[1], within[2])


def _normalise(voxels: npt.NDArray[np.float32], plan: Plan) -> npt.NDArray[np.float32]:
    """HU clipped to the plan's window and scaled as the network was trained on."""
    (low, high), (start, stop) = plan.window_hu, plan.scaled_to
    gain = (stop - start) / (high - low)
    scaled = np.clip(voxels, low, high)
    scaled -= low
    scaled *= gain
    scaled += start
    return np.ascontiguousarray(scaled, dtype=np.float32)
