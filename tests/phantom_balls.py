"""A made-up scan of balls and a network that knows them by their HU: segmentation whose answer is known exactly."""

import numpy as np
import torch
from torch import nn

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.image.volume import Geometry, Stored, Volume
from abdoseg.model.plan import Plan
from abdoseg.model.weights import Model

ORGANS = ("liver", "kidney_right", "kidney_left", "spleen", "pancreas")
WITH_TUMOUR = (*ORGANS[:4], "liver_tumour")
HU = {organ: 95 + 20 * n for organs in (ORGANS, WITH_TUMOUR) for n, organ in enumerate(organs)}
SPACING = (2.0, 2.0, 3.0)


class ByHu(nn.Module):
    """Logits by HU alone: background up to 85, then an organ every 20 HU, in the order of the plan's."""

    def forward(self, image):
        hu = (image + 1) * 200 - 125
        centres = torch.arange(6, device=image.device).view(1, 6, 1, 1, 1) * 20 + 75
        return -((torch.clamp(hu, min=75) - centres) ** 2) / 50


def model(organs=ORGANS, output_organs=ORGANS[:4]):
    plan = Plan(SPACING, (32, 32, 16), organs, output_organs, {"name": "vnet"})
    return Model(plan, ByHu(), torch.device("cpu"), "0" * 64)


def scan(spacing=SPACING, shape=(80, 60, 40), organs=None, affine=None):
    """Balls of organs in a body of 75 HU, so that the liver's border is half way; fat at its sides, air around.

    organs: centre and radius in mm, from the grid's corner.
    """
    organs = organs or {
        "liver": ((110, 60, 60), 26),
        "kidney_right": ((105, 25, 40), 12),
        "kidney_left": ((50, 25, 40), 12),
        "spleen": ((40, 60, 70), 16),
    }
    if affine is None:
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = (-80, -60, 0)
    geometry = Geometry(shape, affine)
    x, y, z = (
        np.einsum("ab,b...->a...", geometry.affine[:3, :3], np.indices(shape))
        + geometry.affine[:3, 3, None, None, None]
    )
    x, y = x + 80, y + 60
    voxels = np.full(shape, -1000, np.int16)
    voxels[(np.abs(x - 80) < 78) & (np.abs(y - 60) < 55)] = -100
    voxels[(np.abs(x - 80) < 66) & (np.abs(y - 60) < 55)] = 75
    truth = np.zeros(shape, np.uint8)
    for organ, ((a, b, c), radius) in organs.items():
        ball = (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 < radius**2
        voxels[ball], truth[ball] = HU[organ], BY_NAME[organ].label
    return Volume(voxels, geometry, Stored(geometry)), truth


def dice(truth, labels, label):
    a, b = truth == label, labels == label
    return 2 * (a & b).sum() / (a.sum() + b.sum())
