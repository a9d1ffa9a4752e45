"""Surface elements: how much surface passes between 2 x 2 x 2 voxels, for each of their 256 patterns.

Marching cubes puts up to four triangles between eight voxels. DeepMind's surface-distance weights each such place by
their area; its published table of 256 rows is unchanged by mirroring, by exchanging axes and by exchanging inside
and outside, so fourteen patterns and their symmetries say all of it.
Source: Nikolov et al. 2021, doi:10.2196/26151; google-deepmind/surface-distance, lookup_tables.py (Apache-2.0).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Corners inside (indices of a 2 x 2 x 2 cube), and eight times the normal of each triangle, its length the area.
PATTERNS: tuple[tuple[str, str], ...] = (
    ("", ""),
    ("111", "111"),
    ("110 111", "220 220"),
    ("101 110", "111 111"),
    ("011 100", "111 111"),
    ("101 110 111", "111 222 400"),
    ("011 101 110", "111 111 111"),
    ("011 100 111", "022 022 111"),
    ("100 101 110 111", "400 400"),
    ("011 101 110 111", "111 111 222 222"),
    ("011 100 110 111", "022 111 202 333"),
    ("011 100 101 110", "111 111 222 400"),
    ("010 011 100 101", "220 220 220 220"),
    ("001 010 100 111", "111 111 111 111"),
)
# The same in the plane: 2 x 2 pixels, and twice the extent of each piece of contour along both axes.
PATTERNS_2D: tuple[tuple[str, str], ...] = (
    ("", ""),
    ("11", "11"),
    ("10 11", "02"),
    ("01 10", "11 11"),
)


def element_sizes(spacing_mm: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Area in mm2 of the surface in each pattern, (256,), or in two dimensions contour length in mm, (16,).

    A pattern's number has bit 4i + 2j + k (in the plane 2i + j) set when the voxel at corner (i, j, k) is inside.
    """
    dimensions = len(spacing_mm)
    sizes = np.zeros(2**2**dimensions)
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    scale = np.prod(spacing) / spacing / 8 if dimensions == 3 else spacing / 2
    for corners, pieces in PATTERNS if dimensions == 3 else PATTERNS_2D:
        inside = np.zeros((2,) * dimensions, dtype=bool)
        for corner in _digits(corners):
            inside[corner] = True
        vectors = np.array(_digits(pieces), dtype=np.float64).reshape(-1, dimensions)
        for order in itertools.permutations(range(dimensions)):
            size = np.linalg.norm(vectors[:, order] * scale, axis=1).sum()
            for flips in itertools.product((1, -1), repeat=dimensions):
                turned = inside.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
                sizes[_number(turned)] = sizes[_number(~turned)] = size
    return sizes


def element_patterns(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The pattern number around every corner of the voxels: each axis is one longer than the mask's.

    Outside the mask's array is background.
    """
    patterns = np.pad(mask.view(np.uint8), 1)
    for bits, axis in enumerate(reversed(range(mask.ndim))):  # two corners an axis, each with the bits of axes before
        along = np.moveaxis(patterns, axis, 0)
        patterns = np.moveaxis(along[:-1] | along[1:] << np.uint8(1 << bits), 0, axis)
    return patterns


def _number(inside: npt.NDArray[np.bool_]) -> int:
    return int(sum(1 << bit for bit, value in enumerate(inside.ravel()) if value))


def _digits(text: str) -> list[tuple[int, ...]]:
    return [tuple(int(digit) for digit in word) for word in text.split()]
