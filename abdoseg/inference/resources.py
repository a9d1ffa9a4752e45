"""What `segment` takes of time and memory, before it is begun: the cost model, and tiles that fit a memory limit.

Needs no PyTorch, so that `info` and `check` can ask it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from abdoseg.errors import ResourceError
from abdoseg.image.volume import Geometry

MAX_TILE_VOXELS = 2_400_000  # larger tiles save overlap, but see weights/LOG.md, 16 and 22
# Measured on two cores, 512 x 512 x 300 and x 1000 and a coarse scan, of the whole process, the network in int8, or
# in bfloat16 with AMX: tests/benchmarks/segment.py. Float32 takes 2.9 times as long as int8: see network.py there.
START_SECONDS, START_BYTES = 1.3, 420 * 2**20
SECONDS_PER_VOXEL, BYTES_PER_VOXEL = 0.6e-8, 3.3  # of the scan: reading, labels, writing
SECONDS_PER_NETWORK_VOXEL = {"int8": 1.4e-7, "bfloat16": 0.7e-7, "float32": 4e-7}
BYTES_PER_NETWORK_VOXEL = 4 + 1 + 2 * 4  # image, mask, margins of four organs
BYTES_PER_TILE_VOXEL = {"int8": 120, "bfloat16": 60, "float32": 120}
# Of each further model of an ensemble: its weights, and what its head takes.
BYTES_PER_MODEL, BYTES_PER_TILE_VOXEL_AND_MODEL = 40 * 2**20, 16


def expected_seconds(scan: Geometry, grid: Geometry, dtype: str = "int8", models: int = 1) -> float:
    """Seconds that `abdoseg segment` will take for such a scan, as a whole process on two cores.

    grid: the network's over the scan. dtype: what the device computes in. models: of an ensemble.
    """
    network = models * SECONDS_PER_NETWORK_VOXEL[dtype]
    return START_SECONDS + _voxels(scan) * SECONDS_PER_VOXEL + _voxels(grid) * network


def expected_bytes(
    scan: Geometry, grid: Geometry, dtype: str = "int8", max_tile_voxels: int = MAX_TILE_VOXELS, models: int = 1
) -> int:
    """Bytes that `abdoseg segment` will take for such a scan, as a whole process. A GPU's own memory is not in them."""
    size = START_BYTES + _voxels(scan) * BYTES_PER_VOXEL + _voxels(grid) * BYTES_PER_NETWORK_VOXEL
    size += (models - 1) * BYTES_PER_MODEL
    return int(size + min(_voxels(grid), max_tile_voxels) * _bytes_per_tile_voxel(dtype, models))


def largest_tile(
    scan: Geometry, grid: Geometry, patch: Sequence[int], max_memory: int | None, dtype: str = "int8", models: int = 1
) -> int:
    """How many voxels a tile may have so that the process stays within `max_memory` bytes.

    Raises:
        ResourceError: not even tiles of one patch fit.
    """
    if max_memory is None:
        return MAX_TILE_VOXELS
    least = math.prod(patch)
    needed = expected_bytes(scan, grid, dtype, least, models)
    if needed <= max_memory:
        return min(MAX_TILE_VOXELS, least + (max_memory - needed) // _bytes_per_tile_voxel(dtype, models))
    size = " x ".join(str(n) for n in scan.shape)
    raise ResourceError(
        f"a scan of {size} voxels needs about {needed / 2**30:.2f} GB, "
        f"--max-memory allows {max_memory / 2**30:.2f} GB; allow more, or crop the scan"
    )


def _bytes_per_tile_voxel(dtype: str, models: int) -> int:
    return BYTES_PER_TILE_VOXEL[dtype] + (models - 1) * BYTES_PER_TILE_VOXEL_AND_MODEL


def _voxels(grid: Geometry) -> float:
    return float(math.prod(grid.shape))
