"""Random shapes on a patch's grid, on any device: smooth noise, and ellipsoids with uneven borders."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from abdoseg.image.components import Box
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.tensor_filters import gaussian_blur, upsample_linear

SIZES = (0.7, 1.3)  # of an ellipsoid's axes, in radii
HILLS = 1.8  # deviations beyond which a border's noise is clipped


def smooth_noise(shape: Sequence[int], spacing_mm: Sequence[float], period_mm: float, rng: Rng) -> Tensor:
    """(I, J, K) noise of mean 0 and standard deviation about 1, with hills about `period_mm` apart."""
    lattice = [max(2, math.ceil(2.0 * n * step / period_mm) + 1) for n, step in zip(shape, spacing_mm, strict=True)]
    return upsample_linear(normalised(gaussian_blur(rng.noise(lattice), (0.7, 0.7, 0.7))), shape)


def normalised(noise: Tensor) -> Tensor:
    """The noise divided by its standard deviation."""
    return noise / noise.std(correction=0).clamp(min=1e-3)


def uneven_ellipsoid(
    shape: Sequence[int],
    centre: Sequence[int],
    radius_mm: float,
    spacing_mm: Sequence[float],
    rng: Rng,
    unevenness: tuple[float, float] = (0.03, 0.22),
) -> tuple[Box, Tensor]:
    """A randomly turned ellipsoid, its axes SIZES times the radius, with an uneven border.

    Args:
        shape: of the patch.
        centre: in voxels, inside the patch.
        radius_mm: the mean of its half axes.
        spacing_mm: of the voxels.
        rng: the sample's random numbers.
        unevenness: smallest and largest deviation of the border, in radii.

    Returns:
        The box around it, and each voxel's distance from the centre there, which is 1 on the border.
    """
    axes_mm = torch.tensor([radius_mm * rng.uniform(*SIZES) for _ in range(3)])
    turn, _ = torch.linalg.qr(rng.normals(9).view(3, 3))
    matrix = (turn / axes_mm[:, None]).tolist()
    rough = rng.uniform(*unevenness)
    reach_mm = SIZES[1] * (1 + HILLS * rough) * radius_mm
    parts, offsets = [], []
    for axis, (n, c, step) in enumerate(zip(shape, centre, spacing_mm, strict=True)):
        reach = math.ceil(reach_mm / step)
        parts.append(slice(max(0, c - reach), min(n, c + reach + 1)))
        along = (torch.arange(parts[-1].start, parts[-1].stop, device=rng.device) - c) * step
        offsets.append(along.view([-1 if a == axis else 1 for a in range(3)]))
    x, y, z = offsets
    squares = [(row[0] * x + row[1] * y + row[2] * z).square() for row in matrix]
    size = [part.stop - part.start for part in parts]
    period_mm = max(7.0, 0.9 * radius_mm)
    lattice = [max(2, math.ceil(n * step / period_mm) + 1) for n, step in zip(size, spacing_mm, strict=True)]
    hills = upsample_linear(rng.noise(lattice).clamp(-HILLS, HILLS), size)
    return (parts[0], parts[1], parts[2]), (squares[0] + squares[1] + squares[2]).sqrt() + rough * hills
