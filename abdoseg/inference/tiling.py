"""How a grid is cut into tiles that the network sees one at a time, and how their answers are blended."""

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
    """Tiles of one size over a grid. starts: where they begin, an axis each; a tile may reach beyond a small grid."""

    size: Shape
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    def __len__(self) -> int:
        return math.prod(len(axis) for axis in self.starts)

    @property
    def computed(self) -> int:
        """Voxels that the network works on, overlaps counted as often as they are computed."""
        return len(self) * math.prod(self.size)

    def tiles(self) -> Iterator[tuple[Box, npt.NDArray[np.float32]]]:
        """Each tile's box, and its share (I, J, K) in the blended answer; the shares of a voxel's tiles sum to 1."""
        shares = [_shares(size, starts) for size, starts in zip(self.size, self.starts, strict=True)]
        for index in itertools.product(*(range(len(axis)) for axis in self.starts)):
            i, j, k = (self.starts[a][n] for a, n in enumerate(index))
            x, y, z = (shares[a][n] for a, n in enumerate(index))
            box = slice(i, i + self.size[0]), slice(j, j + self.size[1]), slice(k, k + self.size[2])
            yield box, x[:, None, None] * y[:, None] * z


def tile(shape: Shape, patch: Shape, multiples: Shape, overlap: float, most: int) -> Tiling:
    """The tiling of a grid that computes the fewest voxels.

    Tiles are at least as large as `patch`, which the network was trained on, and overlap by that share of it. They
    are larger, up to `most` voxels, where that saves overlap: a convolution does not mind. Sizes are multiples
    of `multiples`.
    """
    shared = [round(overlap * n) for n in patch]
    choices = []
    for length, least, common, stride in zip(shape, patch, shared, multiples, strict=True):
        least = math.ceil(least / stride) * stride
        sizes = set()
        for count in range(1, max(1, math.ceil((length - common) / max(1, least - common))) + 1):
            need = math.ceil((length + (count - 1) * common) / count / stride) * stride
            sizes.add((max(least, need), count))
        choices.append(sizes)
    best = min(
        itertools.product(*choices),
        key=lambda axes: (
            math.prod(size for size, _ in axes) > max(most, math.prod(patch)),
            math.prod(size * count for size, count in axes),
            sum(count for _, count in axes),
        ),
    )
    starts = [_spread(length, size, count) for length, (size, count) in zip(shape, best, strict=True)]
    return Tiling((best[0][0], best[1][0], best[2][0]), (starts[0], starts[1], starts[2]))


def _spread(length: int, size: int, count: int) -> tuple[int, ...]:
    """Starts of `count` tiles from the first voxel to the last; a tile larger than the grid has it in its middle."""
    if count == 1 or size >= length:
        return (min(0, (length - size) // 2),)
    return tuple(round(n * (length - size) / (count - 1)) for n in range(count))


def _shares(size: int, starts: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """(tiles, size) the share of each tile along an axis: a Gaussian over the tile, divided by the sum of all.

    The Gaussian's deviation is an eighth of the tile. Source: Isensee et al. 2021, doi:10.1038/s41592-020-01008-z.
    """
    at = np.arange(size) - (size - 1) / 2
    bell = np.maximum(np.exp(-0.5 * (at / (size / 8)) ** 2), 1e-6)
    total = np.zeros(starts[-1] + size - starts[0])
    for start in starts:
        total[start - starts[0] :][:size] += bell
    return np.stack([bell / total[start - starts[0] :][:size] for start in starts]).astype(np.float32)
