"""Separable filters: a banded matrix for each axis of an image, multiplied in dense blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
SINGLE_THREAD = 256 * 16 * 64  # multiplications up to which OpenBLAS stays on the calling thread; others only spin
STACK = 2**20  # voxels in one call, as many as a core's cache holds: smaller calls wait for Python's lock too often
# Rows in one block along K, J and I: more of them multiply the zeros beside the band, fewer are too many calls.
HEIGHTS = (8, 8, 16)


class Block(NamedTuple):
    """Some rows of a matrix and the columns that they need: weights is what stands where they cross."""

    rows: slice
    columns: slice
    weights: Floats


Band = list[Block]


def band(weights: Floats, axis: int) -> Band:
    """The blocks of a matrix (target, source) that filters an image (K, J, I) along an axis."""
    blocks = []
    for first in range(0, len(weights), HEIGHTS[axis]):
        rows = weights[first : first + HEIGHTS[axis]]
        columns = span(rows, axis=0)
        part = np.ascontiguousarray(rows[:, columns])
        blocks.append(Block(slice(first, first + len(rows)), columns, part))
    return blocks


def blocks_using(whole: Band, part: slice) -> tuple[Band, slice, slice] | None:
    """The blocks of a band that use some of its columns, renumbered from their own corner, and their rows and columns.

    None when no block uses any of them.
    """
    some = [block for block in whole if block.columns.start < part.stop and block.columns.stop > part.start]
    if not some:
        return None
    rows = slice(some[0].rows.start, some[-1].rows.stop)
    columns = slice(some[0].columns.start, some[-1].columns.stop)
    moved = [Block(_shifted(b.rows, rows.start), _shifted(b.columns, columns.start), b.weights) for b in some]
    return moved, rows, columns


def span(used: npt.NDArray[np.generic], axis: int) -> slice:
    """From the first index to the last where anything is not 0 along `axis`, one of two: indices of the other."""
    found = np.flatnonzero(np.any(used, axis=axis))
    return slice(int(found[0]), int(found[-1]) + 1)


def filter_image(planes: npt.NDArray[np.number], bands: Sequence[Band], out: Floats) -> None:
    """out (K', J', I') = planes (K, J, I) filtered by a band an axis: where it shrinks first, where it grows last.

    I comes between: a product along the fastest axis takes longer than one along the others.
    """
    shrinks = [new < old for new, old in zip(out.shape, planes.shape, strict=True)]
    order = [*(axis for axis in (1, 0) if shrinks[axis]), 2, *(axis for axis in (1, 0) if not shrinks[axis])]
    for axis in order:
        shape = [out.shape[a] if a == axis else planes.shape[a] for a in range(3)]
        made = out if axis == order[-1] else np.empty(shape, np.float32)
        for stack in [slice(None)] if axis == 0 else _parts(len(planes), STACK // planes[0].size):
            _filter_along(axis, planes[stack].astype(np.float32, order="C", copy=False), bands[axis], made[stack])
        planes = made


def _filter_along(axis: int, planes: Floats, blocks: Band, out: Floats) -> None:
    """out = planes (K, J, I), both in C order, filtered along one axis."""
    if axis == 2:
        lines, filtered = planes.reshape(-1, planes.shape[2]), out.reshape(-1, out.shape[2])
        for rows, needed, weights in blocks:
            transposed = np.ascontiguousarray(weights.T)
            for part in _parts(len(lines), SINGLE_THREAD // weights.size):
                np.matmul(lines[part, needed], transposed, out=filtered[part, rows])
        return
    if axis == 0:
        planes, out = planes.reshape(1, len(planes), -1), out.reshape(1, len(out), -1)
    for rows, needed, weights in blocks:
        for part in _parts(planes.shape[2], SINGLE_THREAD // weights.size):
            np.matmul(weights, planes[:, needed, part], out=out[:, rows, part])


def _parts(length: int, most: int) -> Iterator[slice]:
    """An axis in parts of at most `most`, or of 1."""
    for first in range(0, length, max(1, most)):
        yield slice(first, min(length, first + max(1, most)))


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop - by)
