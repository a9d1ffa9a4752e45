"""Blurs and interpolations of an image, axis by axis, as products with small matrices: a third of a filter's time.

The matrices follow from sizes alone; they are made on the host and sent to the image's device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from abdoseg.training.augment.rng import sent


def along_axes(image: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    """The image (I, J, K), each axis multiplied by its matrix (from, to); None leaves an axis as it is."""
    i, j, k = (None if matrix is None else sent(matrix, image.device) for matrix in matrices)
    if k is not None:
        image = image @ k
    if j is not None:
        image = j.T @ image
    if i is not None:
        image = (i.T @ image.flatten(1)).view(-1, *image.shape[1:])
    return image


def blurred(image: Tensor, sigma: Sequence[float]) -> Tensor:
    """A Gaussian blur of (I, J, K), sigma in voxels an axis; edges are repeated, axes shorter than the bell left."""
    return along_axes(image, [_bell(n, s) for n, s in zip(image.shape, sigma, strict=True)])


def enlarged(lattice: Tensor, shape: Sequence[int]) -> Tensor:
    """A lattice (i, j, k) over a grid (I, J, K), linear between its knots, the outer ones on the grid's corners.

    The matrices are what PyTorch's own interpolation makes of the unit vectors.
    """
    return along_axes(lattice, [
        F.interpolate(torch.eye(knots)[None], size=n, mode="linear", align_corners=True)[0]
        for knots, n in zip(lattice.shape, shape, strict=True)
    ])  # fmt: skip


def averaged(image: Tensor, shape: Sequence[int]) -> Tensor:
    """The means of blocks of an image (I, J, K), as many of them as `shape` says."""
    return along_axes(image, [
        F.interpolate(torch.eye(n)[None], size=blocks, mode="area")[0]
        for n, blocks in zip(image.shape, shape, strict=True)
    ])  # fmt: skip


def thickened(image: Tensor, count: int) -> Tensor:
    """The image (I, J, K) as `count` slices would show it: averaged along the last axis, then interpolated back."""
    slices = image.shape[2]
    thick = F.interpolate(torch.eye(slices)[None], size=count, mode="area")
    return along_axes(image, (None, None, F.interpolate(thick, size=slices, mode="linear", align_corners=False)[0]))


def _bell(n: int, sigma: float) -> Tensor | None:
    """(from, to) a Gaussian's matrix; None where it would do nothing, or be wider than the axis."""
    reach = math.ceil(2.5 * sigma)
    if sigma < 0.2 or reach >= n:
        return None
    steps = torch.arange(-reach, reach + 1)
    taps = torch.exp(-0.5 * (steps / sigma) ** 2)
    sources = (torch.arange(n)[:, None] + steps).clamp(0, n - 1)
    return torch.zeros((n, n)).scatter_add_(1, sources, (taps / taps.sum()).expand(n, -1)).T
