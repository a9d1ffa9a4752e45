"""What every reader of a file gives: an array in the file's own axes, its slope and intercept applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from abdoseg.image.volume import Array, Geometry, Stored

GridCheck = Callable[[Geometry], object]  # raises when a scan of this grid is not to be read


def accept_any_grid(geometry: Geometry) -> None:
    """Admits every grid."""


class Remark(str):
    """A note that says what was put right or kept, and that calls for nobody's review."""


@dataclass(frozen=True, eq=False)
class ImageFile:
    """What a file holds, scaled: `array` (I, J, K) in the file's own axes, int16 or float32."""

    array: Array
    stored: Stored
    notes: tuple[str, ...]
    details: dict[str, Any]


def scaled(raw: Array, slope: float, intercept: float) -> tuple[Array, int]:
    """slope * raw + intercept as int16 where that is exact, otherwise float32.

    Voxels that are no numbers become -1024; so many there were.
    """
    if raw.dtype.newbyteorder("=") == np.int16 and (slope, intercept) == (1.0, 0.0):
        return raw.astype(np.int16, copy=False), 0
    if raw.dtype.kind in "iu" and slope % 1 == 0 == intercept % 1 and max(abs(slope), abs(intercept)) < 65536:
        low, high = (int(raw.min()) * slope + intercept, int(raw.max()) * slope + intercept)
        if max(abs(low), abs(high)) < 32767:
            wide = raw.astype(np.int32) * np.int32(slope) + np.int32(intercept)
            return wide.astype(np.int16), 0
    array: npt.NDArray[np.float32] = raw.astype(np.float32)
    if (slope, intercept) != (1.0, 0.0):
        array *= np.float32(slope)
        array += np.float32(intercept)
    if raw.dtype.kind != "f":
        return array, 0
    bad = ~np.isfinite(array)
    count = int(np.count_nonzero(bad))
    if count:
        array[bad] = -1024
    return array, count


def no_numbers(count: int) -> tuple[str, ...]:
    """The note on so many voxels that were no numbers; none where there are none."""
    return (f"{count:,} voxels were no numbers (NaN or infinite) and are taken as air, -1024 HU",) if count else ()
