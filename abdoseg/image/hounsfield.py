"""Are these numbers Hounsfield units? Asked of files that do not say, and of those that do but may be wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abdoseg.image.volume import Array, memory_order
from abdoseg.runtime.threads import on_all_cores

SAMPLE = 2_000_000
AT_ONCE = 2**22  # voxels: what a cache holds, and few calls, for each may wait for Python beside an import
BEYOND = 3100  # 12 bits from -1024 end at 3071; metal in extended scales goes on, but in few voxels
TISSUE_HU = (-150, 300)


@dataclass(frozen=True)
class HuStatistics:
    """What a scan's voxels look like; fractions of all voxels, from at most SAMPLE of them spread evenly."""

    low: float
    high: float
    beyond: float
    tissue: float
    whole: bool

    @property
    def span(self) -> str:
        return f"values from {self.low:g} to {self.high:g}"


class HuAccumulator:
    """HU statistics found out from stacks of planes, in any order and from any thread.

    shape: of all planes, the first axis counting them. backward: axes along which the sample is spread from the end.
    least: what lies below it is raised to it, where it lies.
    """

    def __init__(self, shape: Sequence[int], backward: Sequence[bool] = (False,) * 3, least: float = -np.inf) -> None:
        self.depth = max(1, AT_ONCE // math.prod(shape[1:]))
        self._least = least
        self._stride = max(1, round((math.prod(shape) / SAMPLE) ** (1 / 3)))
        self._starts = [(n - 1) % self._stride if back else 0 for n, back in zip(shape, backward, strict=True)]
        self._seen: list[tuple[float, float, int, int, int, bool]] = []  # of each stack, as in add

    def add(self, first: int, planes: Array) -> None:
        """planes: (some, J, K), the first of them the one of that number."""
        low, high = planes.min(), planes.max()
        if low < self._least:
            np.maximum(planes, self._least, out=planes)
        starts = ((self._starts[0] - first) % self._stride, *self._starts[1:])
        sample = planes[tuple(slice(start, None, self._stride) for start in starts)].copy(order="K")
        beyond = int(np.count_nonzero(sample > BEYOND))
        tissue = int(np.count_nonzero((sample > TISSUE_HU[0]) & (sample < TISSUE_HU[1])))
        whole = sample.dtype.kind in "iu" or np.array_equal(sample, np.round(sample))
        self._seen.append((float(low), float(high), sample.size, beyond, tissue, whole))

    def values(self) -> HuStatistics:
        """Of all that was added."""
        low, high, sizes, beyond, tissue, whole = zip(*self._seen, strict=True)
        low, high = (max(found, self._least) for found in (min(low), max(high)))
        return HuStatistics(float(low), float(high), sum(beyond) / sum(sizes), sum(tissue) / sum(sizes), all(whole))


def hu_statistics(array: Array, least: float = -np.inf) -> HuStatistics:
    """low and high are of all voxels, those below `least` having been raised to it where they lie."""
    planes = array.transpose(memory_order(array))
    tally = HuAccumulator(planes.shape, least=least)
    depth = tally.depth
    on_all_cores(lambda n: tally.add(n * depth, planes[n * depth : (n + 1) * depth]), -(-len(planes) // depth))
    return tally.values()


def why_not_hu(values: HuStatistics) -> str | None:
    """Says what the numbers are instead of HU; None when they may be HU, clipped to a window or not.

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
