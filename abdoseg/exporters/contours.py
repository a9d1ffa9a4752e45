"""Closed contours of a slice's mask by marching squares, holes joined to what surrounds them by keyholes.

Contours run through the middles between voxel centres inside and outside, straight across corners: every centre keeps
its side, and a closed contour's area is its pixels less half a pixel. Pixels that meet at a corner only are apart.
Source: marching squares by contourpy; keyholes: DICOM PS3.3, C.8.8.6.3 (Representing Inner and Outer Contours).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from contourpy import FillType, contour_generator

Loop = npt.NDArray[np.int64]  # (N, 2) twice (row, column), so that middles between centres are whole numbers


def outlines(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """(N, 2) rows and columns of each closed contour, in pixels from the first centre; none for an empty mask.

    One contour for each island, its holes within it. The last point joins the first and is not repeated.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    padded = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1).astype(np.float64)
    filled: Any = contour_generator(z=padded, name="serial", fill_type=FillType.OuterOffset).filled(0.5, np.inf)
    found = []
    for points, starts in zip(*filled, strict=True):
        twice = np.rint(2 * points[:, ::-1]).astype(np.int64)
        loops = [twice[start : stop - 1] for start, stop in pairwise(starts)]  # the last point repeats the first
        found.append(_without_straights(_keyholed(loops)) / 2 + [top - 1, left - 1])
    return found


def _keyholed(loops: list[Loop]) -> Loop:
    """One loop of an island's outer loop, the first, and its holes, each joined along a pixel row, there and back.

    A hole's rightmost point lies in a pixel row between a centre outside and one inside; along that row to the right
    come centres inside until the next border, whose point in this row is a point of its loop: the channel crosses
    nothing. Holes are joined from the right to the left, so that what they join is part of the island's loop already.
    """
    joined, *holes = loops
    for hole in sorted(holes, key=lambda loop: -loop[:, 1].max()):
        in_rows = hole[:, 0] % 2 == 0
        start = int(np.flatnonzero(in_rows)[hole[in_rows, 1].argmax()])
        row, column = hole[start]
        meets = np.flatnonzero((joined[:, 0] == row) & (joined[:, 1] > column))
        at = int(meets[joined[meets, 1].argmin()])
        there = np.concatenate([hole[start:], hole[: start + 1]])
        joined = np.concatenate([joined[: at + 1], there, joined[at:]])
    return joined


def _without_straights(loop: Loop) -> Loop:
    """The loop without points on the straight line between their neighbours."""
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    turns = (before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]) | ((before * after).sum(axis=1) < 0)
    return np.asarray(loop[turns])
