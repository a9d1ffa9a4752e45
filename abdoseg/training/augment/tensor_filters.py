"""Separable filters of patches as PyTorch tensors, on a CPU or a GPU: Gaussian blur, linear upsampling, block means.

Each axis is multiplied by one small dense matrix, which takes a third of a convolution's time. The matrices follow
from sizes alone; they are made on the host and sent to the image's device. `image.separable` filters whole scans in
numpy, where matrices are banded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from abdoseg.training.augment.rng import host_to_device


def multiply_axes(image: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    """An image (I, J, K) with each axis multiplied by its matrix (from, to); None leaves an axis unchanged."""
    i, j, k = (None if matrix is None else host_to_device(matrix, image.device) for matrix in matrices)
    if k is not None:
        image = image @ k
    if j is not None:
        image = j.T @ image
    if i is not None:
        image = (i.T @ image.flatten(1)).view(-1, *image.shape[1:])
    return image


def gaussian_blur(image: Tensor, sigma: Sequence[float]) -> Tensor:
    """A Gaussian blur of an image (I, J, K), sigma in voxels per axis.

    Edge voxels are repeated outwards. An axis shorter than the kernel is not blurred.
    """
    return multiply_axes(image, [_gaussian_matrix(n, s) for n, s in zip(image.shape, sigma, strict=True)])


def upsample_linear(lattice: Tensor, shape: Sequence[int]) -> Tensor:
    """A lattice (i, j, k) interpolated linearly onto a grid (I, J, K); its outer knots lie on the grid's corners.

    The matrices are PyTorch's own interpolation of the unit vectors.
    """
    return multiply_axes(lattice, [
        F.interpolate(torch.eye(knots)[None], size=n, mode="linear", align_corners=True)[0]
        for knots, n in zip(lattice.shape, shape, strict=True)
    ])  # fmt: skip


def block_means(image: Tensor, shape: Sequence[int]) -> Tensor:
    """An image (I, J, K) downsampled to `shape` by averaging blocks of voxels."""
    return multiply_axes(image, [
        F.interpolate(torch.eye(n)[None], size=blocks, mode="area")[0]
        for n, blocks in zip(image.shape, shape, strict=True)
    ])  # fmt: skip


def thick_slices(image: Tensor, count: int) -> Tensor:
    """An image (I, J, K) as `count` thick slices show it: averaged along the last axis, then interpolated back."""
    slices = image.shape[2]
    thick = F.interpolate(torch.eye(slices)[None], size=count, mode="area")
    return multiply_axes(image, (None, None, F.interpolate(thick, size=slices, mode="linear", align_corners=False)[0]))


def _gaussian_matrix(n: int, sigma: float) -> Tensor | None:
    """(from, to) the matrix of a Gaussian blur; None for a sigma below 0.2 or a kernel wider than the axis."""
    reach = math.ceil(2.5 * sigma)
    if sigma < 0.2 or reach >= n:
        return None
    steps = torch.arange(-reach, reach + 1)
    taps = torch.exp(-0.5 * (steps / sigma) ** 2)
    sources = (torch.arange(n)[:, None] + steps).clamp(0, n - 1)
    return torch.zeros((n, n)).scatter_add_(1, sources, (taps / taps.sum()).expand(n, -1)).T
