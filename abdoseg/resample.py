"""One grid onto another, in HU and in labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from abdoseg.volume import Array, Geometry


def resample_image(
    voxels: Array, source: Geometry, target: Geometry, outside: float = -1024.0
) -> npt.NDArray[np.float32]:
    """`voxels` (I, J, K) of `source` at the centres of `target`: float32 (I', J', K').

    Along parallel axes an antialiased linear filter an axis: a triangle as wide as the coarser of the two spacings.
    Between other grids trilinear, `outside` beyond the source.
    """
    scale, offset = _mapping(source, target)
    if not _parallel(scale):
        sampled = ndimage.affine_transform(
            voxels.astype(np.float32), scale, offset, target.shape, order=1, mode="constant", cval=outside
        )
        return np.asarray(sampled, dtype=np.float32)
    result = np.asarray(voxels)
    for axis in sorted(range(3), key=lambda a: target.shape[a] / source.shape[a]):
        weights = _triangle(source.shape[axis], target.shape[axis], scale[axis, axis], offset[axis])
        moved = np.moveaxis(result, axis, 0)
        flat = moved.reshape(moved.shape[0], -1).astype(np.float32, copy=False)
        result = np.moveaxis((weights @ flat).reshape(target.shape[axis], *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(result, dtype=np.float32)


def resample_labels(labels: Array, source: Geometry, target: Geometry) -> npt.NDArray[np.uint8]:
    """`labels` (I, J, K) of `source` at the centres of `target`, nearest neighbour, 0 beyond the source."""
    scale, offset = _mapping(source, target)
    if not _parallel(scale):
        sampled = ndimage.affine_transform(labels, scale, offset, target.shape, order=0, mode="constant", cval=0)
        return np.asarray(sampled, dtype=np.uint8)
    centres = [offset[a] + scale[a, a] * np.arange(target.shape[a]) for a in range(3)]
    nearest = [np.clip(np.rint(c).astype(int), 0, n - 1) for c, n in zip(centres, source.shape, strict=True)]
    return np.ascontiguousarray(labels[np.ix_(*nearest)], dtype=np.uint8)


def _mapping(source: Geometry, target: Geometry) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(3, 3) and (3,): source index = scale @ target index + offset."""
    matrix = np.linalg.inv(source.affine) @ target.affine
    return matrix[:3, :3], matrix[:3, 3]


def _parallel(scale: npt.NDArray[np.float64]) -> bool:
    off = scale - np.diag(np.diag(scale))
    return bool((np.diag(scale) > 0).all() and np.abs(off).max() < 1e-4)


def _triangle(source: int, target: int, scale: float, offset: float) -> sparse.csr_matrix:
    """(target, source) weights of the triangle filter, rows summing to 1; beyond the edge its voxel is repeated."""
    width = max(1.0, scale)
    centres = offset + scale * np.arange(target)
    reach = int(np.ceil(width))
    taps = np.floor(centres)[:, None] + np.arange(-reach + 1, reach + 1)
    values = np.maximum(0.0, 1.0 - np.abs(taps - centres[:, None]) / width)
    values /= values.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(target), taps.shape[1])
    columns: Sequence[int] = np.clip(taps, 0, source - 1).astype(int).ravel()
    return sparse.csr_matrix((values.ravel().astype(np.float32), (rows, columns)), shape=(target, source))
