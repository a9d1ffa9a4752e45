"""Hounsfield units: statistics of a scan's voxels, padding, and whether numbers are HU at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from abdoseg.image.volume import Array, memory_order
from abdoseg.runtime.threads import on_all_cores

AIR_HU = -1024  # the lowest value that 12-bit CT has; scanners pad the picture's corners with less
SAMPLE = 2_000_000
AT_ONCE = 2**22  # voxels in one numpy call: as many as a cache holds, and few calls, as each may wait for Python's lock
BEYOND = 3100  # 12 bits from -1024 end at 3071; metal in extended scales goes on, but in few voxels
TISSUE_HU = (-150, 300)


@dataclass(frozen=True)
class HuStatistics:
    """What a scan's voxels look like.

    low, high: of all voxels, padding taken as air. padding: voxels below AIR_HU. beyond, tissue: fractions above
    BEYOND and within TISSUE_HU; these and whole, no fractions of HU, are of at most SAMPLE voxels spread evenly.
    """

    low: float
    high: float
    padding: int
    beyond: float
    tissue: float
    whole: bool

    @property
    def span(self) -> str:
        return f"values from {self.low:g} to {self.high:g}"


class HuAccumulator:
    """HU statistics gathered from stacks of planes, in any order and from any thread.

    shape: of all planes, the first axis counting them. backward: axes along which the sample is spread from the end.
    depth: planes that a stack had best have.
    """

    def __init__(self, shape: Sequence[int], backward: Sequence[bool] = (False,) * 3) -> None:
        self.depth = max(1, AT_ONCE // math.prod(shape[1:]))
        self._stride = max(1, round((math.prod(shape) / SAMPLE) ** (1 / 3)))
        self._starts = [(n - 1) % self._stride if back else 0 for n, back in zip(shape, backward, strict=True)]
        self._seen: list[tuple[float, float, int, int, int, int, bool]] = []  # of each stack, as in add

    def add(self, first: int, planes: Array) -> None:
        """planes: (some, J, K), the first of them the one of that number."""
        low, high = float(planes.min()), float(planes.max())
        padding = int(np.count_nonzero(planes < AIR_HU)) if low < AIR_HU else 0
        starts = ((self._starts[0] - first) % self._stride, *self._starts[1:])
        sample = planes[tuple(slice(start, None, self._stride) for start in starts)].copy(order="K")
        beyond = int(np.count_nonzero(sample > BEYOND))
        tissue = int(np.count_nonzero((sample > TISSUE_HU[0]) & (sample < TISSUE_HU[1])))
        whole = sample.dtype.kind in "iu" or np.array_equal(sample, np.round(sample))
        self._seen.append((low, high, padding, sample.size, beyond, tissue, whole))

    def statistics(self) -> HuStatistics:
        """Of all that was added."""
        lows, highs, padding, sizes, beyond, tissue, whole = zip(*self._seen, strict=True)
        low, high = (float(max(found, AIR_HU)) for found in (min(lows), max(highs)))
        return HuStatistics(low, high, sum(padding), sum(beyond) / sum(sizes), sum(tissue) / sum(sizes), all(whole))


def hu_statistics(voxels: Array) -> HuStatistics:
    """The statistics of an array of any memory order, (I, J, K), computed on all cores; it is not changed."""
    planes = voxels.transpose(memory_order(voxels))
    accumulator = HuAccumulator(planes.shape)
    _by_stacks(lambda first, stack: accumulator.add(first, stack), planes, accumulator.depth)
    return accumulator.statistics()


def raise_padding(voxels: Array) -> None:
    """Raises what lies below AIR_HU to it, in place, on all cores."""
    planes = voxels.transpose(memory_order(voxels))
    depth = max(1, AT_ONCE // planes[0].size)
    _by_stacks(lambda _, stack: np.maximum(stack, AIR_HU, out=stack), planes, depth)


def _by_stacks(work: Callable[[int, Array], object], planes: Array, depth: int) -> None:
    """work(first, planes) for every `depth` planes, on all cores."""

    def stack(n: int) -> None:
        work(n * depth, planes[n * depth : (n + 1) * depth])

    on_all_cores(stack, -(-len(planes) // depth))


def why_not_hu(values: HuStatistics) -> str | None:
    """What the numbers are instead of HU, in words; None when they may be HU, clipped to a window or not.

    A CT holds fat or air, which are negative, and a range of at least 100. Whether there is a body in it is for
    `abdoseg check` to say.
    """
    if values.low == values.high:
        return f"every voxel is {values.low:g}"
    if values.low >= 0:
        if values.high <= 1:
            return f"{values.span}: normalised to 0..1, not HU"
        if values.whole and values.high < 120:
            return f"{values.span}, whole numbers: a label map or grey levels, not HU"
        if values.high <= 255:
            return f"{values.span}: 8-bit grey levels, not HU"
        return (
            f"{values.span}, none negative: stored numbers without the rescale intercept, or MR; in HU fat and air "
            "are below 0"
        )
    if values.high - values.low < 100:
        return f"{values.span}: normalised or standardised, not HU"
    if values.beyond > 0.02:
        return f"{values.span}, {values.beyond:.0%} of them above {BEYOND}: not HU"
    return None
