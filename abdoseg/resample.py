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
ALONE = 256 * 16 * 64  # multiplications up to which OpenBLAS stays on the calling thread; its own only spin here
PLANES = 4  # in one call, as many as a core's cache holds: calls of one plane leave the cores waiting for each other
DEPTH = 48  # planes of the result that are made at a time
FACE = 1e-4  # of a voxel: a centre that only rounding puts below a face lies on it
PARALLEL = 1e-4  # off-diagonal source voxels per target voxel below which axes count as parallel


def resample_image(voxels: Array, source: Geometry, target: Geometry, outside: float = -1024.0) -> Floats:
    """`voxels` (I, J, K) of `source` at the centres of `target`: float32 (I', J', K').

    Along parallel axes an antialiased linear filter an axis: a triangle as wide as the coarser of the two spacings,
    the edge voxel repeated beyond the source. Between other grids the same filter along the source's axes, then
    trilinear, `outside` beyond the source. The order of the sums is that of the canonical axes, so the values are the
    same to the last bit however the file had its axes. In memory I is fastest, which is the fastest to read, too.
    """
    scale, offset = _mapping(source, target)
    if not _parallel(scale):
        coarse = source.resampled(tuple(np.maximum(source.spacing_mm, target.spacing_mm)))
        return _sample(resample_image(voxels, source, coarse), *_mapping(coarse, target), target.shape, outside)
    across, along, up = (
        _triangle(source.shape[a], target.shape[a], scale[a, a], offset[a], max(1.0, scale[a, a])) for a in range(3)
    )
    wide, deep = [*_blocks(across)], [*_blocks(along)]
    result = np.empty(target.shape[::-1], np.float32)  # (K', J', I')
    for start in range(0, len(result), DEPTH):
        weights = up[start : start + DEPTH]
        used = np.flatnonzero(weights.any(axis=0))
        shrunk = np.empty((used[-1] + 1 - used[0], *result.shape[1:]), np.float32)
        stacks = range(0, len(shrunk), PLANES)
        planes, rows = voxels[:, :, used[0] : used[-1] + 1].T, weights[:, used[0] : used[-1] + 1]

        def shrink(n: int, stacks: range = stacks, planes: Array = planes, shrunk: Floats = shrunk) -> None:
            stack = slice(stacks[n], stacks[n] + PLANES)
            _filter(planes[stack].astype(np.float32, order="C"), wide, deep, shrunk[stack])

        def combine(n: int, start: int = start, rows: Floats = rows, shrunk: Floats = shrunk) -> None:
            _combine(shrunk, rows[n], result[start + n])

        _on_all_cores(shrink, len(stacks))
        _on_all_cores(combine, len(rows))
    return result.T


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
    across, along, up = (
        _triangle(source.shape[a], int(stop[a] - start[a]), scale[a, a], offset[a] + scale[a, a] * start[a], 1.0)
        for a in range(3)
    )
    wide, deep = [*_blocks(across)], [*_blocks(along)]
    smooth = np.empty((source.shape[2], *planes.shape[1:]), np.float32)  # (k, J, I)
    for first in range(0, len(smooth), PLANES):
        stack = slice(first, first + PLANES)
        _filter(field.T[stack].astype(np.float32), wide, deep, smooth[stack])
    between = np.empty(planes.shape[1:], np.float32)
    for plane, weights in zip(planes, up, strict=True):
        _combine(smooth, weights, between)
        np.copyto(plane, label, where=between > 0)
    return i, j, k


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


def _triangle(source: int, target: int, scale: float, offset: float, width: float) -> Floats:
    """(target, source) weights of a triangle of that half width in source voxels, at `offset` + `scale` * index.

    Rows sum to 1; beyond the edge its voxel is repeated.
    """
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


def _filter(planes: Floats, across: Sequence[Block], along: Sequence[Block], out: Floats) -> None:
    """out (N, J', I') = planes (N, J, I) filtered along both axes, block by block."""
    narrow = np.empty((*planes.shape[:2], out.shape[2]), np.float32)
    for rows, needed, weights in across:
        columns = np.ascontiguousarray(weights.T)
        for part in _parts(planes.shape[1], weights):
            np.matmul(planes[:, part, needed], columns, out=narrow[:, part, rows])
    for rows, needed, weights in along:
        for part in _parts(narrow.shape[2], weights):
            np.matmul(weights, narrow[:, needed, part], out=out[:, rows, part])


def _parts(length: int, weights: Floats) -> Iterator[slice]:
    """Even parts of an axis that is not summed over, as few as OpenBLAS multiplies with `weights` on this thread."""
    count = max(1, -(-length * weights.size // ALONE))
    for n in range(count):
        yield slice(n * length // count, (n + 1) * length // count)


def _combine(planes: Floats, weights: Floats, out: Floats) -> None:
    """out (J, I) = the sum of planes (N, J, I), each by its weight."""
    used = np.flatnonzero(weights)
    np.multiply(planes[used[0]], weights[used[0]], out=out)
    part = np.empty_like(out)
    for n in used[1:]:
        out += np.multiply(planes[n], weights[n], out=part)


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
