"""Blocks of n x n x n voxels: their means, in which there is less noise, and the blocks that a mask fills or touches.

Voxels at an axis' end that fill no block are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from abdoseg.image.components import Mask


def block_means(image: npt.NDArray[np.float32], n: int) -> npt.NDArray[np.float32]:
    """(I // n, J // n, K // n) the mean of each block.

    >>> block_means(np.arange(9, dtype=np.float32).reshape(1, 3, 3).repeat(3, axis=0), 3)
    array([[[4.]]], dtype=float32)
    """
    return np.asarray(_reduced(image, n, np.add) / np.float32(n**3))


def filled_blocks(mask: Mask, n: int) -> Mask:
    """(I // n, J // n, K // n) whether the mask holds all voxels of a block."""
    return _reduced(mask, n, np.logical_and)


def touched_blocks(mask: Mask, n: int) -> Mask:
    """(I // n, J // n, K // n) whether the mask holds a voxel of a block."""
    return _reduced(mask, n, np.logical_or)


def _reduced(values: npt.NDArray[Any], n: int, join: Callable[[Any, Any], Any]) -> npt.NDArray[Any]:
    """The blocks' values joined, along one axis after the other: the slowest first, whose slices are read fastest."""
    values = values[tuple(slice(size - size % n) for size in values.shape)]
    for axis in np.argsort(values.strides)[::-1]:
        every = [(slice(None),) * int(axis) + (slice(start, None, n),) for start in range(n)]
        values = reduce(join, [values[part] for part in every])
    return values
