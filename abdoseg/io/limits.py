"""Limits on the size that a header may declare, checked before memory is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from abdoseg.errors import ResourceError, ScanError
from abdoseg.image.volume import Geometry
from abdoseg.runtime.memory import free_memory

MAX_VOXELS = 2**31  # 1024 x 1024 x 2048: more than any scanner makes of one body
MAX_LITRES = 2000.0  # inside a grid's box: 2.2 m of an 0.85 m wide field hold 1600
MAX_RATIO = 1032  # deflate cannot expand further: one bit for each of 258 / 2 bytes (RFC 1951, length code 285)


def check_declared_size(name: str, shape: Sequence[int], itemsize: int, stored_bytes: int, compressed: bool) -> None:
    """Refuses a header that declares more voxels than the file can hold, or than fit into memory.

    stored_bytes: the size of the file on disk. Raises ScanError, ResourceError.
    """
    voxels = math.prod(int(n) for n in shape)
    promised = voxels * itemsize
    size = " x ".join(str(n) for n in shape)
    if promised > stored_bytes * (MAX_RATIO if compressed else 1):
        raise ScanError(
            f"{name}: truncated: the header promises {size} voxels ({promised:,} bytes), "
            f"the file has {stored_bytes:,} bytes{' compressed' if compressed else ''}; copy or export it again"
        )
    check_voxels(name, shape, itemsize if itemsize == 2 else itemsize + 4)


def check_voxels(name: str, shape: Sequence[int], a_voxel: int = 2) -> None:
    """Refuses a grid beyond MAX_VOXELS, or beyond the memory that is free now. a_voxel: bytes of one while it is read.

    Raises ScanError, ResourceError.
    """
    voxels = math.prod(int(n) for n in shape)
    size = " x ".join(str(n) for n in shape)
    if voxels > MAX_VOXELS:
        raise ScanError(
            f"{name}: {size} voxels are more than any CT has (limit {MAX_VOXELS:,}); is the header damaged?"
        )
    free = free_memory()
    needed = a_voxel * voxels
    if free is not None and needed > free:
        raise ResourceError(f"{name}: {size} voxels need {needed / 2**30:.1f} GB, {free / 2**30:.1f} GB are free")


def check_extent(name: str, geometry: Geometry) -> None:
    """Refuses a grid larger than any CT: resampled to the network's spacing it would fill the memory.

    Raises ScanError.
    """
    extent_m = np.array(geometry.shape) * geometry.spacing_mm / 1000
    if 1000 * extent_m.prod() > MAX_LITRES:
        size, spacing = (" x ".join(f"{n:.3g}" for n in numbers) for numbers in (extent_m, geometry.spacing_mm))
        raise ScanError(f"{name}: {size} m large, more than any CT; is its voxel spacing, {spacing} mm, right?")
