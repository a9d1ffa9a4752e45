"""Sliding window inference: how an image is cut into overlapping tiles, and the weights that blend their results."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from abdoseg.image.components import Box

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Tiling:
    """Tiles of one size over an image.

    size: voxels (I, J, K) of a tile. starts: first voxels of the tiles along each axis; a tile may reach beyond a
    small image.
    """

    size: Shape
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    def __len__(self) -> int:
        return math.prod(len(axis) for axis in self.starts)

    @property
    def computed_voxels(self) -> int:
        """Voxels that the network computes, those of overlaps once for each tile."""
        return len(self) * math.prod(self.size)

    def tiles(self) -> Iterator[tuple[Box, npt.NDArray[np.float32]]]:
        """Each tile's box and its blending weights (I, J, K); at every voxel the weights of all tiles sum to 1."""
        weights = [_gaussian_weights(size, starts) for size, starts in zip(self.size, self.starts, strict=True)]
        for index in itertools.product(*(range(len(axis)) for axis in self.starts)):
            i, j, k = (self.starts[a][n] for a, n in enumerate(index))
            x, y, z = (weights[a][n] for a, n in enumerate(index))
            box = slice(i, i + self.size[0]), slice(j, j + self.size[1]), slice(k, k + self.size[2])
            yield box, x[:, None, None] * y[:, None] * z


def cheapest_tiling(shape: Shape, patch: Shape, multiples: Shape, overlap: float, max_voxels: int) -> Tiling:
    """The tiling of an image for which the network computes the fewest voxels.

    Args:
        shape: voxels of the image.
        patch: the least size of a tile: what the network was trained on.
        multiples: of which the size of a tile must be.
        overlap: of neighbouring tiles, as a fraction of `patch`.
        max_voxels: of a tile, unless `patch` has more. Tiles larger than `patch` save overlap.
    """
    overlaps = [round(overlap * n) for n in patch]
    choices = []
    for length, least, common, multiple in zip(shape, patch, overlaps, multiples, strict=True):
        least = math.ceil(least / multiple) * multiple
        sizes = set()
        for count in range(1, max(1, math.ceil((length - common) / max(1, least - common))) + 1):
            need = math.ceil((length + (count - 1) * common) / count / multiple) * multiple
            sizes.add((max(least, need), count))
        choices.append(sizes)
    best = min(
        itertools.product(*choices),
        key=lambda axes: (
            math.prod(size for size, _ in axes) > max(max_voxels, math.prod(patch)),
            math.prod(size * count for size, count in axes),
            sum(count for _, count in axes),
        ),
    )
    starts = [_spread(length, size, count) for length, (size, count) in zip(shape, best, strict=True)]
    return Tiling((best[0][0], best[1][0], best[2][0]), (starts[0], starts[1], starts[2]))


def _spread(length: int, size: int, count: int) -> tuple[int, ...]:
    """First voxels of `count` tiles spread evenly over an axis; an axis shorter than a tile lies in its middle."""
    if count == 1 or size >= length:
        return (min(0, (length - size) // 2),)
    return tuple(round(n * (length - size) / (count - 1)) for n in range(count))


def _gaussian_weights(size: int, starts: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """(tiles, size) weights along an axis: a Gaussian over each tile, divided by the sum of all of them.

    Its standard deviation is an eighth of the tile. Source: Isensee 2021, doi:10.1038/s41592-020-01008-z.
    """
    at = np.arange(size) - (size - 1) / 2
    gaussian = np.maximum(np.exp(-0.5 * (at / (size / 8)) ** 2), 1e-6)
    total = np.zeros(starts[-1] + size - starts[0])
    for start in starts:
        total[start - starts[0] :][:size] += gaussian
    return np.stack([gaussian / total[start - starts[0] :][:size] for start in starts]).astype(np.float32)
