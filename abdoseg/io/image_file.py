"""ImageFile: what the readers of single-file formats (NIfTI, MetaImage, NRRD) return, and how they scale voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from abdoseg.image.hounsfield import AIR_HU
from abdoseg.image.volume import Array, Stored

GridCheck = Callable[[Stored], object]  # called before any voxel is read; raises when such a grid is not to be read


def accept_any_grid(stored: Stored) -> None:
    """The GridCheck that accepts every grid."""


class Remark(str):
    """A note for the record on what was repaired or kept; unlike other notes it calls for nobody's review."""


class NonFinite(str):
    """A note on voxels that were no numbers; where an image is refused, it may be why."""


@dataclass(frozen=True, eq=False)
class ImageFile:
    """What a file holds. voxels: (I, J, K) in the file's own axes, int16 or float32, slope and intercept applied."""

    voxels: Array
    stored: Stored
    notes: tuple[str, ...]
    details: dict[str, Any]


def apply_scale(raw: Array, slope: float, intercept: float) -> tuple[Array, int]:
    """slope * raw + intercept as int16 where that is exact, otherwise float32; and the number of non-finite voxels.

    Those become -1024. An int16 array that needs no scaling is returned as it is, not copied.
    """
    if raw.dtype.newbyteorder("=") == np.int16 and (slope, intercept) == (1.0, 0.0):
        return raw.astype(np.int16, copy=False), 0
    if raw.dtype.kind in "iu" and slope % 1 == 0 == intercept % 1 and max(abs(slope), abs(intercept)) < 65536:
        low, high = (int(raw.min()) * slope + intercept, int(raw.max()) * slope + intercept)
        if max(abs(low), abs(high)) < 32767:
            wide = raw.astype(np.int32) * np.int32(slope) + np.int32(intercept)
            return wide.astype(np.int16), 0
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is counted below
        scaled: npt.NDArray[np.float32] = raw.astype(np.float32)
        if (slope, intercept) != (1.0, 0.0):
            scaled *= np.float32(slope)
            scaled += np.float32(intercept)
    if raw.dtype.kind != "f" and np.iinfo(raw.dtype).max * abs(slope) + abs(intercept) < np.finfo(np.float32).max:
        return scaled, 0
    bad = ~np.isfinite(scaled)
    count = int(np.count_nonzero(bad))
    if count:
        scaled[bad] = AIR_HU
    return scaled, count


def non_finite_notes(count: int) -> tuple[NonFinite, ...]:
    """The note on voxels that were no numbers; none when there were none."""
    words = f"{count:,} voxels were no numbers (NaN or infinite) and are taken as air, -1024 HU"
    return (NonFinite(words),) if count else ()


def non_finite_clause(notes: Sequence[str]) -> str:
    """What a message on refused voxels adds where some were no numbers: NaN is -1024 by then."""
    return "".join(f"; {note}" for note in notes if isinstance(note, NonFinite))


def padding_notes(count: int) -> tuple[Remark, ...]:
    """The note on voxels of padding, below -1024 HU; none when there were none."""
    return (Remark(f"{count:,} voxels below -1024 HU are padding, taken as air"),) if count else ()
