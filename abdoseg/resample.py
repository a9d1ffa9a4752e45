"""One grid onto another, in HU and in labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from abdoseg.machine import cores
from abdoseg.volume import Array, Geometry

Floats = npt.NDArray[np.float32]
Block = tuple[slice, slice, Floats]  # rows, columns, the dense weights between them
BLOCK = 16  # output rows that share one dense product: the filter's band is narrow, a larger block multiplies zeros
ROWS = 256  # of one product: up to 256 x 16 x 64 OpenBLAS stays on the calling thread; its own threads only spin here
FACE = 1e-4  # of a voxel: a centre that only rounding puts below a face lies on it
PARALLEL = 1e-4  # off-diagonal source voxels per target voxel below which axes count as parallel


def resample_image(voxels: Array, source: Geometry, target: Geometry, outside: float = -1024.0) -> Floats:
    """`voxels` (I, J, K) of `source` at the centres of `target`: float32 (I', J', K').

    Along parallel axes an antialiased linear filter an axis: a triangle as wide as the coarser of the two spacings,
    the edge voxel repeated beyond the source. Between other grids the same filter along the source's axes, then
    trilinear, `outside` beyond the source. The order of the sums is that of the canonical axes, so the values are the
    same to the last bit however the file had its axes; memory in file order, I fastest, is the fastest to read.
    """
    scale, offset = _mapping(source, target)
    if not _parallel(scale):
        coarse = source.resampled(tuple(np.maximum(source.spacing_mm, target.spacing_mm)))
        return _sample(resample_image(voxels, source, coarse), *_mapping(coarse, target), target.shape, outside)
    across, along, up = (
        list(_blocks(_triangle(source.shape[a], target.shape[a], scale[a, a], offset[a]))) for a in range(3)
    )
    result = np.empty(target.shape[::-1], np.float32)  # (K', J', I')
    for rows, needed, weights in up:
        inner = np.empty((needed.stop - needed.start, *result.shape[1:]), np.float32)

        def shrink(n: int, first: int = needed.start, inner: Floats = inner) -> None:
            _shrink(voxels[:, :, first + n].T.astype(np.float32, order="C"), along, across, inner[n])

        _on_all_cores(shrink, len(inner))
        flat, out = inner.reshape(len(inner), -1), result[rows].reshape(len(weights), -1)
        for start in range(0, flat.shape[1], ROWS):
            np.matmul(weights, flat[:, start : start + ROWS], out=out[:, start : start + ROWS])
    return np.ascontiguousarray(result.T)


def resample_labels(labels: Array, source: Geometry, target: Geometry) -> npt.NDArray[np.uint8]:
    """`labels` (I, J, K) of `source` at the centres of `target`: that of the voxel it lies in, 0 beyond the source.

    A voxel reaches from its lower faces, which are its own, to its upper ones, which are the next voxel's.
    """
    scale, offset = _mapping(source, target)
    offset = offset + FACE
    if not _parallel(scale):
        from scipy import ndimage

        sampled = ndimage.affine_transform(labels, scale, offset, target.shape, order=0, mode="grid-constant", cval=0)
        return np.asarray(sampled, dtype=np.uint8)
    voxels = [np.floor(offset[a] + scale[a, a] * np.arange(target.shape[a]) + 0.5).astype(int) for a in range(3)]
    within = [slice(*np.searchsorted(v, (0, n))) for v, n in zip(voxels, source.shape, strict=True)]
    result = np.zeros(target.shape, np.uint8)
    result[tuple(within)] = labels[np.ix_(*(v[s] for v, s in zip(voxels, within, strict=True)))]
    return result


def paint_above(
    field: Array, source: Geometry, target: Geometry, labels: npt.NDArray[np.uint8], label: int
) -> tuple[slice, slice, slice]:
    """Writes `label` into `labels` (I, J, K) of `target` where the linearly interpolated `field` is above 0.

    field: (i, j, k) of `source`, a box of some grid around one organ. The field is carried on by half a voxel and a
    little more beyond the box, no further. Slices are made one at a time: memory is that of the box. Returns the box of
    `labels` that was looked at, empty when the field lies beyond the target.
    """
    scale, offset = _mapping(source, target)
    start, stop = _reach(source, target)
    i, j, k = (slice(int(a), max(int(a), int(b))) for a, b in zip(start, stop, strict=True))
    planes = labels[i, j, k].T  # (K, J, I)
    if not planes.size:
        return i, j, k
    if not _parallel(scale):
        for n, plane in enumerate(planes):
            corner = offset + scale @ np.add(start, (0, 0, n))
            plane[_sample(field, scale, corner, (*(stop - start)[:2], 1), None)[:, :, 0].T > 0] = label
        return i, j, k
    (left, x), (back, y), (below, z) = (
        _between(source.shape[a], start[a], stop[a], scale[a, a], offset[a]) for a in range(3)
    )
    rows = _lerp(field.T.astype(np.float32), left, x, axis=2)
    for plane, lower, share in zip(planes, below, z, strict=True):
        upper = min(lower + 1, len(rows) - 1)
        _paint_plane(rows[lower] + share * (rows[upper] - rows[lower]), back, y, plane, label)
    return i, j, k


def _paint_plane(values: Floats, lower: npt.NDArray[np.intp], share: Floats, plane: Array, label: int) -> None:
    """Writes `label` into `plane` (J, I) where `values` (J', I), interpolated along J as `_lerp` does, are above 0.

    Only what lies between the outermost values above 0 is looked at.
    """
    filled = values > 0
    used, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    if not len(used):
        return
    rows = slice(*np.searchsorted(lower, (used[0] - 1, used[-1] + 1)))
    across = slice(columns[0], columns[-1] + 1)
    values = values[:, across]
    rise = np.diff(values, axis=0, append=values[-1:]).take(lower[rows], axis=0)
    rise *= share[rows, None]
    np.copyto(plane[rows, across], label, where=rise > np.negative(values).take(lower[rows], axis=0))


def _on_all_cores(work: Callable[[int], None], count: int) -> None:
    """work(0) to work(count - 1): numpy lets other threads run while it computes."""
    workers = min(8, cores(), count)

    def share(first: int) -> None:
        for n in range(first, count, workers):
            work(n)

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(share, range(workers)):
            pass


def _mapping(source: Geometry, target: Geometry) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(3, 3) and (3,): source index = scale @ target index + offset."""
    matrix = np.linalg.inv(source.affine) @ target.affine
    return matrix[:3, :3], matrix[:3, 3]


def _parallel(scale: npt.NDArray[np.float64]) -> bool:
    off = scale - np.diag(np.diag(scale))
    return bool((np.diag(scale) > 0).all() and np.abs(off).max() < PARALLEL)


def _triangle(source: int, target: int, scale: float, offset: float) -> Floats:
    """(target, source) weights of the triangle filter, rows summing to 1; beyond the edge its voxel is repeated."""
    width = max(1.0, scale)
    centres = offset + scale * np.arange(target)
    reach = int(np.ceil(width))
    taps = np.floor(centres)[:, None] + np.arange(-reach + 1, reach + 1)
    values = np.maximum(0.0, 1.0 - np.abs(taps - centres[:, None]) / width)
    values /= values.sum(axis=1, keepdims=True)
    weights = np.zeros((target, source))
    np.add.at(weights, (np.arange(target)[:, None], np.clip(taps, 0, source - 1).astype(int)), values)
    return weights.astype(np.float32)


def _blocks(weights: Floats) -> Iterator[Block]:
    """A banded matrix as dense blocks: rows, the columns that they need, and the weights between them."""
    for first in range(0, len(weights), BLOCK):
        rows = weights[first : first + BLOCK]
        used = np.flatnonzero(rows.any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        yield slice(first, first + len(rows)), columns, np.ascontiguousarray(rows[:, columns])


def _shrink(plane: Floats, first: Sequence[Block], second: Sequence[Block], out: Floats) -> None:
    """out = first @ plane @ second.T, block by block."""
    narrow = np.empty((len(plane), out.shape[1]), np.float32)
    for start in range(0, len(plane), ROWS):
        part = slice(start, start + ROWS)
        for rows, needed, weights in second:
            np.matmul(plane[part, needed], weights.T, out=narrow[part, rows])
    for rows, needed, weights in first:
        np.matmul(weights, narrow[needed], out=out[rows])


def _sample(
    field: Array,
    scale: npt.NDArray[np.float64],
    offset: npt.NDArray[np.float64],
    shape: tuple[int, ...],
    outside: float | None,
) -> Floats:
    """Trilinear values of `field` at scale @ index + offset; `outside` beyond it, or its edge repeated for None."""
    from scipy import ndimage

    mode, fill = ("nearest", 0.0) if outside is None else ("constant", outside)
    sampled = ndimage.affine_transform(
        field.astype(np.float32, copy=False), scale, offset, shape, order=1, mode=mode, cval=fill
    )
    return np.asarray(sampled, dtype=np.float32)


def _reach(source: Geometry, target: Geometry) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The box of target voxels, start and stop, that lie in `source` grown by one voxel on each side."""
    to_target, offset = _mapping(target, source)
    ends = np.array(np.meshgrid(*[(-1, n) for n in source.shape], indexing="ij"), dtype=np.float64).reshape(3, 8)
    corners = to_target @ ends + offset[:, None]
    start = np.maximum(0, np.ceil(corners.min(axis=1) - 1e-6)).astype(np.intp)
    stop = np.minimum(target.shape, np.floor(corners.max(axis=1) + 1e-6) + 1).astype(np.intp)
    return start, stop


def _between(size: int, start: int, stop: int, scale: float, offset: float) -> tuple[npt.NDArray[np.intp], Floats]:
    """For target indices from start to stop: the source voxel below each, and how far it lies towards the next."""
    at = np.clip(offset + scale * np.arange(start, stop), 0, size - 1)
    lower = np.minimum(np.floor(at), max(0, size - 2)).astype(np.intp)
    return lower, (at - lower).astype(np.float32)


def _lerp(values: Floats, lower: npt.NDArray[np.intp], share: Floats, axis: int) -> Floats:
    """`values` interpolated along an axis, `share` of the way from `lower` to the next."""
    if values.shape[axis] == 1:
        return values.take(lower, axis)
    shape = [1] * values.ndim
    shape[axis] = -1
    result = np.diff(values, axis=axis).take(lower, axis)
    result *= share.reshape(shape)
    result += values.take(lower, axis)
    return result
