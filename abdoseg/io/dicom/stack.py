"""Slice stacking: ordered by position, duplicates dropped, gaps named and filled, gantry tilt kept as shear.

Source: DICOM PS3.3, C.7.6.2.1.1. InstanceNumber, SliceLocation, SliceThickness and file names are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from abdoseg.errors import SeriesError, UsageError
from abdoseg.image.affines import lps_to_ras, straightened
from abdoseg.image.volume import Affine
from abdoseg.io.dicom.headers import Slice
from abdoseg.io.dicom.series import SAME_PLACE_MM, sideways_mm
from abdoseg.io.image_file import Remark

MAX_GAP_MM = 15.0  # between measured slices; organs change too much over more
EVEN = 0.01  # of the step: scanners' own rounding
WHOLE = 0.05  # of the step: a gap this near to a multiple has whole slices missing
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gap:
    """Slices missing between two measured ones; mm along the slices' normal (the patient's z for axial slices)."""

    start_mm: float
    stop_mm: float
    missing: int

    def __str__(self) -> str:
        return f"{self.start_mm:.1f} and {self.stop_mm:.1f} mm ({self.missing} missing)"


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order along the normal, on an even grid.

    at: (slices,) place of each on the grid, in steps; whole numbers but for uneven series. count: slices of the grid.
    affine: (4, 4) column, row, slice index to RAS mm.
    """

    slices: tuple[Slice, ...]
    at: Floats
    count: int
    affine: Affine
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]


def stack_slices(
    name: str,
    slices: tuple[Slice, ...],
    gaps: str,
    same_pixels: Callable[[Slice, Slice], bool],
    strangers: Sequence[Slice] = (),
) -> Stack:
    """Puts slices of one orientation in order, on an even grid.

    Args:
        name: of the scan, for messages.
        slices: of one orientation, matrix and pixel size, at two positions or more.
        gaps: fail, refuse missing slices; fill, interpolate them; split, take the longest part without any; auto,
            fill, but refuse where a slice is there and has another matrix.
        same_pixels: whether two slices hold the same HU.
        strangers: slices of the series that have another matrix or pixel size.

    Raises:
        SeriesError: when the slices make no volume.
        UsageError: for an unknown word in `gaps`.
    """
    if gaps not in ("auto", "fail", "fill", "split"):
        raise UsageError(f"--gaps {gaps}: must be auto, fail, fill or split")
    normal = slices[0].normal
    ordered = sorted(slices, key=lambda piece: float(piece.position @ normal))
    ordered, notes = _without_duplicates(name, ordered, same_pixels)
    if (off := sideways_mm(ordered)) > 0.5 * min(slices[0].spacing_mm):
        raise SeriesError(f"{name}: the slices jump sideways by up to {off:.1f} mm: parts of different reconstructions")
    along = np.array([float(piece.position @ normal) for piece in ordered])
    step = usual_step(np.diff(along))
    between, beyond = _strangers_places(strangers, slices[0], along, step)
    if beyond:
        notes.append(f"{len(beyond)} slices beyond the ends are left out: {_describe_grids(beyond, slices[0])}")
    if gaps == "split":
        ordered, along, words = _longest_even(ordered, along, step)
        notes += words
    at = (along - along[0]) / step
    even = np.arange(len(at)) * (at[-1] / (len(at) - 1))
    if (off := float(np.abs(at - even).max())) <= max(WHOLE, 2 * SAME_PLACE_MM / step):
        if off > max(EVEN, 2 * SAME_PLACE_MM / step):
            notes.append(Remark(f"slices lie up to {off * step:.2f} mm beside even places, and are taken as even"))
        return _grid(ordered, np.arange(len(at), dtype=np.float64), len(at), (), notes)
    missing = _gaps(ordered, along, step)
    whole = np.abs(at - np.round(at)).max() <= WHOLE
    what = f"slices missing between {'; '.join(map(str, missing))}" if whole else _uneven(along)
    if between:
        what += f"; {len(between)} of them are there, but {_describe_grids(between, slices[0])}"
        if gaps == "auto":
            raise SeriesError(
                f"{name}: {what}; export the series with one matrix, or pass --gaps fill to interpolate these slices"
            )
    if gaps == "fail":
        raise SeriesError(f"{name}: {what}; export the whole series, or pass --gaps fill")
    worst = float(np.diff(along).max())
    if worst > MAX_GAP_MM:
        raise SeriesError(
            f"{name}: {what}: a gap of {worst:.1f} mm is beyond the {MAX_GAP_MM:.0f} mm that can be filled; "
            "export the whole series, or pass --gaps split for its longest part"
        )
    at = np.round(at) if whole else at
    count = int(np.floor(at[-1] + 1e-6)) + 1
    notes.append(f"{what}; {count - len(at) if whole else count} of {count} slices are interpolated")
    return _grid(ordered, at, count, missing if whole else (), notes)


def _strangers_places(
    strangers: Sequence[Slice], first: Slice, along: Floats, step: float
) -> tuple[list[Slice], list[Slice]]:
    """Of slices with another matrix, those that lie in gaps between the stack's, and those one step beyond its ends."""
    between, beyond = [], []
    for piece in strangers:
        place = float(piece.position @ first.normal)
        nearest = float(np.abs(along - place).min())
        if along[0] < place < along[-1]:
            if nearest > step / 4:
                between.append(piece)
        elif step / 4 < nearest < 2 * step:
            beyond.append(piece)
    return between, beyond


def _describe_grids(pieces: Sequence[Slice], first: Slice) -> str:
    """How slices differ from those of the stack, in words."""
    sizes = sorted({(piece.matrix[1], piece.matrix[0]) for piece in pieces})
    if sizes == [(first.matrix[1], first.matrix[0])]:
        return f"with other pixels than the {first.spacing_mm[0]:g} x {first.spacing_mm[1]:g} mm of the series"
    listed = ", ".join(f"{columns} x {rows}" for columns, rows in sizes)
    return f"with another matrix, {listed} among {first.matrix[1]} x {first.matrix[0]}"


def usual_step(gaps: Floats) -> float:
    """The distance that most neighbours share within 5 %; the smallest of equally frequent ones. (slices - 1,) mm.

    The mean over them: slices 0.625 mm apart whose positions are rounded to 0.01 mm are 0.62 and 0.63 mm apart.
    """
    near = np.abs(gaps[:, None] - gaps[None, :]) <= 0.05 * gaps[:, None]
    votes = near.sum(axis=1)
    best = min(np.flatnonzero(votes == votes.max()), key=lambda n: float(gaps[n]))
    return float(np.mean(gaps[near[best]]))


def _without_duplicates(
    name: str, ordered: list[Slice], same_pixels: Callable[[Slice, Slice], bool]
) -> tuple[list[Slice], list[str]]:
    """Drops a slice that repeats another. Raises SeriesError when two at one place disagree."""
    kept = ordered[:1]
    for piece in ordered[1:]:
        if float((piece.position - kept[-1].position) @ piece.normal) > SAME_PLACE_MM:
            kept.append(piece)
        elif not same_pixels(kept[-1], piece):
            raise SeriesError(
                f"{name}: two different slices at {_place(piece):.1f} mm in one series, {kept[-1].entry.name} and "
                f"{piece.entry.name}, and nothing tells them apart; remove the one that is not wanted"
            )
    dropped = len(ordered) - len(kept)
    return kept, [Remark(f"{dropped} slices were there twice, identical, and are used once")] if dropped else []


def _place(piece: Slice) -> float:
    """Where a slice lies, in the mm that a reader of the scan knows: the patient's z for axial slices."""
    return float(piece.position[2] if abs(piece.normal[2]) > 0.8 else piece.position @ piece.normal)


def _gaps(ordered: list[Slice], along: Floats, step: float) -> tuple[Gap, ...]:
    return tuple(
        Gap(_place(ordered[n]), _place(ordered[n + 1]), round(float(gap) / step) - 1)
        for n, gap in enumerate(np.diff(along))
        if round(float(gap) / step) > 1
    )


def _uneven(along: Floats) -> str:
    gaps = np.diff(along)
    return f"uneven spacing, from {gaps.min():.2f} to {gaps.max():.2f} mm"


def _longest_even(ordered: list[Slice], along: Floats, step: float) -> tuple[list[Slice], Floats, list[str]]:
    """The longest run of neighbours that are one step apart."""
    breaks = np.flatnonzero(np.abs(np.diff(along) - step) > max(WHOLE * step, 2 * SAME_PLACE_MM)) + 1
    if not len(breaks):
        return ordered, along, []
    edges = [0, *breaks.tolist(), len(along)]
    start, stop = max(pairwise(edges), key=lambda run: run[1] - run[0])
    if stop - start < 2:
        return ordered, along, []
    note = (
        f"{len(edges) - 1} parts with gaps between them; the longest, {stop - start} of {len(along)} slices from "
        f"{_place(ordered[start]):.1f} to {_place(ordered[stop - 1]):.1f} mm, is used"
    )
    return ordered[start:stop], along[start:stop], [note]


def _grid(ordered: list[Slice], at: Floats, count: int, gaps: tuple[Gap, ...], notes: list[str]) -> Stack:
    """The affine from the first and last positions: what leans there is the gantry's tilt, and stays."""
    first, last = ordered[0], ordered[-1]
    affine = np.eye(4)
    affine[:3, 0] = first.row * first.spacing_mm[0]
    affine[:3, 1] = first.column * first.spacing_mm[1]
    affine[:3, 2] = (last.position - first.position) / at[-1]
    affine[:3, 3] = first.position
    rows, columns = first.matrix
    affine, _ = straightened(lps_to_ras(affine), (columns, rows, count))
    return Stack(tuple(ordered), at, count, affine, gaps, tuple(notes))
