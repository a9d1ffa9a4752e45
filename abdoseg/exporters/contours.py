"""Closed outlines of a slice's mask, holes joined to what surrounds them by keyholes.

Outlines run through the middles between voxel centres inside and outside, straight across corners: every centre
keeps its side, and a closed outline's area is its pixels less half a pixel.
Source: marching squares; keyholes: DICOM PS3.3, C.8.8.6.3 (Representing Inner and Outer Contours).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Loop = list[tuple[int, int]]  # twice (row, column), so that middles between centres are whole numbers

# For each pattern of a square of centres, bits 1 upper left, 2 upper right, 4 lower right, 8 lower left: the segments
# that part inside from outside, between the middles of its sides, the inside on their left hand as columns run right
# and rows down. Where only opposite corners are inside they are kept apart, as pixels that meet at a corner only.
_TOP, _RIGHT, _BOTTOM, _LEFT = (0, 1), (1, 2), (2, 1), (1, 0)
_SEGMENTS: dict[int, tuple[tuple[tuple[int, int], tuple[int, int]], ...]] = {
    1: ((_LEFT, _TOP),),
    2: ((_TOP, _RIGHT),),
    3: ((_LEFT, _RIGHT),),
    4: ((_RIGHT, _BOTTOM),),
    5: ((_LEFT, _TOP), (_RIGHT, _BOTTOM)),
    6: ((_TOP, _BOTTOM),),
    7: ((_LEFT, _BOTTOM),),
    8: ((_BOTTOM, _LEFT),),
    9: ((_BOTTOM, _TOP),),
    10: ((_TOP, _RIGHT), (_BOTTOM, _LEFT)),
    11: ((_BOTTOM, _RIGHT),),
    12: ((_RIGHT, _LEFT),),
    13: ((_RIGHT, _TOP),),
    14: ((_TOP, _LEFT),),
}


def outlines(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """(N, 2) rows and columns of each closed outline, in pixels from the first centre; none for an empty mask.

    One outline for each island, its holes within it. The last point joins the first and is not repeated.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    loops = _loops(np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1))
    offset = np.array([top - 1, left - 1])
    return [np.array(_without_straights(loop), dtype=np.float64) / 2 + offset for loop in _keyholed(loops)]


def _loops(padded: npt.NDArray[np.bool_]) -> list[Loop]:
    """Every border, islands anticlockwise and holes clockwise as seen with rows running down."""
    inside = padded.astype(np.uint8)
    pattern = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, 1:] + 8 * inside[1:, :-1]
    follows: dict[tuple[int, int], tuple[int, int]] = {}
    for row, column in np.argwhere((pattern > 0) & (pattern < 15)).tolist():
        for start, end in _SEGMENTS[int(pattern[row, column])]:
            follows[2 * row + start[0], 2 * column + start[1]] = (2 * row + end[0], 2 * column + end[1])
    loops = []
    while follows:
        first, point = follows.popitem()
        loop = [first]
        while point != first:
            loop.append(point)
            point = follows.pop(point)
        loops.append(loop)
    return loops


def _keyholed(loops: list[Loop]) -> list[Loop]:
    """The outer loops, each hole joined along a pixel row to the border that it meets on its right, there and back.

    A hole's rightmost point lies in a pixel row between a centre outside and one inside; along that row to the right
    come centres inside until the next border, whose point in this row is a point of its loop: the channel crosses
    nothing. Holes are joined from the right to the left, so that what they join is part of an outline already.
    """
    where: dict[int, list[tuple[int, int]]] = {}
    owner: dict[tuple[int, int], int] = {}
    outer: dict[int, Loop] = {}
    holes = []
    for number, loop in enumerate(loops):
        for row, column in loop:
            owner[row, column] = number
            if row % 2 == 0:
                where.setdefault(row, []).append((column, number))
        if _area(loop) > 0:
            outer[number] = loop
        else:
            holes.append(number)
    part_of = {number: number for number in outer}
    for number in sorted(holes, key=lambda n: -max(column for _, column in loops[n])):
        loop = loops[number]
        row, column = max((point for point in loop if point[0] % 2 == 0), key=lambda point: point[1])
        meets = min(entry for entry in where[row] if entry[0] > column)
        into = part_of[owner[row, meets[0]]]
        at, start = outer[into].index((row, meets[0])), loop.index((row, column))
        hole = [*loop[start:], *loop[: start + 1]]
        outer[into] = [*outer[into][: at + 1], *hole, *outer[into][at:]]
        part_of[number] = into
    return list(outer.values())


def _without_straights(loop: Loop) -> Loop:
    """The loop without points on the straight line between their neighbours."""
    points = np.array(loop)
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = (before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]) | ((before * after).sum(axis=1) < 0)
    return [point for point, kept in zip(loop, turns.tolist(), strict=True) if kept]


def _area(loop: Loop) -> float:
    """Positive when anticlockwise with rows running down: an island. Source: the shoelace formula."""
    rows, columns = np.array(loop, dtype=np.float64).T
    return float((np.roll(columns, -1) * rows - columns * np.roll(rows, -1)).sum() / 2)
