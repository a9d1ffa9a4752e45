"""Where in an image the organs lie: a coarse look at all of it, so that the finer one need not see all of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from abdoseg.components import box_of, components
from abdoseg.model.patches import Box
from abdoseg.model.plan import Plan
from abdoseg.model.predict import MOST_VOXELS, body_box, predict, tiles_of
from abdoseg.model.weights import Model
from abdoseg.progress import Track, silent

MARGIN_MM = 30.0  # around what the coarse look finds: see tests/benchmarks/locate.py
LEAST_ML = 1.0  # a smaller piece is no reason to look there
WORTH = 4_000_000  # voxels to compute from which on a coarse look saves more than it takes


def locate(
    model: Model,
    image: npt.NDArray[np.float32],
    organs: tuple[str, ...],
    most_voxels: int = MOST_VOXELS,
    track: Track = silent,
) -> Box:
    """The box of an image (I, J, K) of HU on the plan's grid that holds the organs, with a margin.

    The network looks at blocks of `plan.locating` voxels along each axis, averaged. It is the whole body where that
    would save nothing, where the plan has no such number, for organs that the model does not deliver, and where
    nothing is found: then nothing is known.
    """
    plan = model.plan
    body = body_box(image, plan.window_hu[0])
    tiling = tiles_of(model, image[body].shape, most_voxels)
    if plan.locating is None or not set(organs) <= set(plan.delivered) or tiling.computed < WORTH:
        return body
    coarse = _averaged(image[body], plan.locating)
    found = _found(predict(model, coarse, organs, most_voxels, track=track).values, _block_ml(plan))
    if found is None:
        return body
    assert plan.segmenting_mm is not None
    box = []
    for part, within, spacing in zip(found, body, plan.segmenting_mm, strict=True):
        margin = round(MARGIN_MM / spacing)
        start, stop = within.start + part.start * plan.locating, within.start + part.stop * plan.locating
        box.append(slice(max(within.start, start - margin), min(within.stop, stop + margin)))
    return box[0], box[1], box[2]


def _averaged(image: npt.NDArray[np.float32], block: int) -> npt.NDArray[np.float32]:
    """The mean of blocks of so many voxels along each axis, those at the far ends of fewer."""
    blocks = F.avg_pool3d(torch.from_numpy(image.T)[None], block, ceil_mode=True)  # (1, K', J', I'): I is fastest
    return np.asarray(blocks[0].numpy().T)


def _found(fields: npt.NDArray[np.float16], block_ml: float) -> Box | None:
    """The box of all pieces of any organ that are large enough to count; None when there is none."""
    numbers, sizes = components(np.any(fields > 0, axis=0, keepdims=True)[0])
    return box_of((sizes * block_ml >= LEAST_ML)[numbers])


def _block_ml(plan: Plan) -> float:
    assert plan.segmenting_mm is not None
    assert plan.locating is not None
    return float(np.prod(plan.segmenting_mm)) * plan.locating**3 / 1000
