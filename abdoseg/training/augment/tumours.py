"""Synthetic liver tumours in real scans: uneven ellipsoids inside a healthy liver, with exact labels.

Source: Hu 2023, "Label-Free Liver Tumor Segmentation", arXiv:2303.14869.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.shapes import uneven_ellipsoid
from abdoseg.training.augment.tensor_filters import gaussian_blur

LIVER, TUMOUR = BY_NAME["liver"].label, BY_NAME["liver_tumour"].label
# Kinds of disease, equally likely: smallest and largest radius in mm, and the largest number of tumours.
KINDS = ((3.0, 6.0, 8), (5.0, 10.0, 6), (9.0, 18.0, 4), (16.0, 36.0, 2))
MIN_LIVER_ML = 15.0  # a patch with less liver gets no tumours
MIN_VOXELS = 5  # a tumour that has fewer inside the liver is left out


@dataclass(frozen=True)
class _Appearance:
    """What the tumours of one patient have in common: contrast to the liver, width of the edge, texture."""

    darker: bool
    contrast_hu: float
    edge_mm: float
    grain_hu: float

    @classmethod
    def draw(cls, rng: Rng) -> _Appearance:
        darker = rng.bernoulli(0.85)
        contrast_hu = rng.uniform(18.0, 70.0) if darker else rng.uniform(18.0, 56.0)
        return cls(darker, contrast_hu, rng.uniform(0.5, 1.8), rng.uniform(2.0, 12.0))


def add_tumours(image: Tensor, labels: Tensor, spacing_mm: Sequence[float], rng: Rng) -> tuple[Tensor, Tensor]:
    """Puts 1 to 8 tumours of 3 to 36 mm radius into the liver of a patch.

    They are 15 to 75 HU darker than the liver or, less often, 15 to 60 HU brighter. Some have a darker core or a
    bright rim. Nothing outside the liver changes.

    Args:
        image: (I, J, K) float32 HU, on the rng's device.
        labels: (I, J, K) uint8 in our numbers, on the same device.
        spacing_mm: of the voxels.
        rng: the sample's random numbers.

    Returns:
        The image and the labels with the tumours; both unchanged if the patch has less than MIN_LIVER_ML of liver.
    """
    liver = labels == LIVER
    places = liver.cpu().flatten().nonzero()[:, 0]  # one transfer from the device, instead of one per tumour
    if len(places) * math.prod(spacing_mm) < 1000 * MIN_LIVER_ML:
        return image, labels
    image, labels = image.clone(), labels.clone()
    smallest, largest, most = KINDS[rng.integers(len(KINDS))]
    appearance = _Appearance.draw(rng)
    for _ in range(1 + rng.integers(most)):
        radius_mm = rng.log_uniform(smallest, largest)
        centre = [int(c) for c in torch.unravel_index(places[rng.integers(len(places))], image.shape)]
        box, distance = uneven_ellipsoid(image.shape, centre, radius_mm, spacing_mm, rng)
        inside = (distance < 1) & liver[box]
        enough = inside.sum() >= MIN_VOXELS  # stays on the device
        opacity = torch.sigmoid((1 - distance) * (radius_mm / appearance.edge_mm)) * (liver[box] & enough)
        image[box] += opacity * _contrast_hu(distance, radius_mm, appearance, rng)
        labels[box] = torch.where(inside & enough, TUMOUR, labels[box])
    return image, labels


def _contrast_hu(distance: Tensor, radius_mm: float, appearance: _Appearance, rng: Rng) -> Tensor:
    """What a tumour adds to the liver's HU at each distance from its centre."""
    strength_hu = appearance.contrast_hu * rng.uniform(0.84, 1.07)
    if radius_mm < 8.0 and appearance.darker:  # its edge takes much of a small one's contrast
        strength_hu = min(75.0, strength_hu + 8.0)
    contrast = torch.full_like(distance, -strength_hu if appearance.darker else strength_hu)
    if radius_mm > 9.0 and appearance.darker and rng.bernoulli(0.4):  # necrosis
        core, darkening_hu = rng.uniform(0.4, 0.75), rng.uniform(10.0, 40.0)
        contrast = torch.where(distance < core, contrast - darkening_hu, contrast)
    if rng.bernoulli(0.25):  # a rim that enhances
        contrast = contrast + rng.uniform(10.0, 45.0) * torch.exp(-((distance - 0.95) / 0.12).square())
    grain = gaussian_blur(rng.noise(distance.shape), (0.9, 0.9, 0.6))
    return contrast + appearance.grain_hu * 2.0 * grain
