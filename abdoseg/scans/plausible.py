"""Are these numbers Hounsfield units? Asked of files that do not say, and of those that do but may be wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from abdoseg.machine import on_all_cores
from abdoseg.volume import Array, memory_order

SAMPLE = 2_000_000
AT_ONCE = 2**22  # voxels: what a cache holds, and few calls, for each may wait for Python beside an import
BEYOND = 3100  # 12 bits from -1024 end at 3071; metal in extended scales goes on, but in few voxels
TISSUE_HU = (-150, 300)


@dataclass(frozen=True)
class Values:
    """What a scan's voxels look like; fractions of all voxels, from at most SAMPLE of them spread evenly."""

    low: float
    high: float
    beyond: float
    tissue: float
    whole: bool

    @property
    def span(self) -> str:
        return f"values from {self.low:g} to {self.high:g}"


def values_of(array: Array, least: float = -np.inf) -> Values:
    """low and high are of all voxels, those below `least` having been raised to it where they lie."""
    planes = array.transpose(memory_order(array))
    depth = max(1, AT_ONCE // planes[0].size)
    ends = np.empty((-(-len(planes) // depth), 2))

    def stack(n: int) -> None:
        part = planes[n * depth : (n + 1) * depth]
        ends[n] = part.min(), part.max()
        if ends[n, 0] < least:
            np.maximum(part, least, out=part)

    on_all_cores(stack, len(ends))
    low, high = np.maximum(ends, least).T
    stride = max(1, round((array.size / SAMPLE) ** (1 / 3)))
    sample = array[::stride, ::stride, ::stride].copy(order="K")
    return Values(
        float(low.min()),
        float(high.max()),
        np.count_nonzero(sample > BEYOND) / sample.size,
        np.count_nonzero((sample > TISSUE_HU[0]) & (sample < TISSUE_HU[1])) / sample.size,
        bool(sample.dtype.kind in "iu" or np.array_equal(sample, np.round(sample))),
    )


def why_not_hu(values: Values) -> str | None:
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
