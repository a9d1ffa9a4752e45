"""DICOM reader: a folder, zip or file to one Volume in HU, by way of series, slice stack and pixels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from abdoseg.errors import ScanError
from abdoseg.image.volume import Array, Geometry, Stored, Volume
from abdoseg.io.dicom.pixels import (
    HIGHEST,
    as_signed,
    check_decodable,
    frames,
    hidden_sign_bits,
    is_whole,
    same_pixels,
    to_hu,
)
from abdoseg.io.dicom.series import Catalogue, Series, catalogue, choose
from abdoseg.io.dicom.stack import Stack, stack_slices
from abdoseg.io.image_file import GridCheck, Remark, accept_any_grid, padding_notes
from abdoseg.io.limits import check_voxels
from abdoseg.runtime.threads import cores

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DARKEST_HU = -200  # above which no CT of a body ends: there is air around it, and in it


def read_dicom(
    path: Path,
    *,
    series: str | None = None,
    gaps: str = "auto",
    check_grid: GridCheck = accept_any_grid,
) -> Volume:
    """Reads the best CT series under `path`, or the one asked for.

    check_grid: called with the scan's grid before its pixels are read.
    Raises SeriesError, ScanError, ResourceError, UsageError.
    """
    found = catalogue(path)
    chosen, why = choose(found, series)
    check_decodable(path, chosen.slices)
    stack = stack_slices(f"{path}", chosen.slices, gaps, same_pixels, found.strangers(chosen))
    stored = _stored(stack)
    check_grid(stored)
    try:
        array, padding = _read_voxels(path, stack)
        sign_bits = 0
        if int(array.min()) >= 0 or int(array.max()) >= HIGHEST:
            sign_bits = hidden_sign_bits(stack.slices[len(stack.slices) // 2])
        if sign_bits:
            array, padding = _read_voxels(path, stack, sign_bits)
    except ScanError as error:  # which names a file that may be in any of many folders
        raise ScanError(f"{path}: {error}") from error
    notes = [*found.notes, *_choice_notes(found, chosen, why), *stack.notes, *padding_notes(padding)]
    if sign_bits:
        notes.append("the stored numbers are signed, although PixelRepresentation says unsigned; taken as signed")
    if stored.geometry.shear_degrees > 0.01:
        tilt = f"the gantry was tilted by {stored.geometry.shear_degrees:.1f} degrees; the slices' lean is kept"
        notes.append(Remark(tilt))
    if int(array.min()) > DARKEST_HU and not _says_hu(stack):
        notes.append(
            f"no RescaleIntercept is stated, and nothing is darker than {int(array.min())}, where air is -1000 HU: "
            "are these HU? Export the series with its rescale attributes"
        )
    details = _facts(found, chosen, why, stack, stored.geometry)
    return Volume(stored.to_canonical(array.T), stored.canonical(), stored, tuple(notes), details)


def series_grid(path: Path, *, series: str | None = None, gaps: str = "auto") -> Stored:
    """The grid that `read_dicom` reads a series on, from its headers alone. Raises ScanError, SeriesError."""
    found = catalogue(path)
    chosen, _ = choose(found, series)
    return _stored(stack_slices(f"{path}", chosen.slices, gaps, same_pixels, found.strangers(chosen)))


def _stored(stack: Stack) -> Stored:
    rows, columns = stack.slices[0].matrix
    return Stored(Geometry((columns, rows, stack.count), stack.affine))


def ordered_headers(path: Path, *, series: str | None = None, gaps: str = "auto") -> list[tuple[Dataset, int, float]]:
    """For writers of DICOM: (header, frame, place along K of the stored grid) of each slice of the series chosen.

    The same series and order as `read_dicom` gives; headers are without pixels. They hold the patient's identity.
    """
    found = catalogue(path)
    chosen, _ = choose(found, series)
    stack = stack_slices(f"{path}", chosen.slices, gaps, same_pixels, found.strangers(chosen))
    return [(piece.header, piece.frame, float(at)) for piece, at in zip(stack.slices, stack.at, strict=True)]


def _read_voxels(path: Path, stack: Stack, sign_bits: int = 0) -> tuple[Array, int]:
    """(K, J, I) HU, int16 where every slope and intercept is whole, otherwise float32; and the voxels of padding.

    sign_bits: take stored numbers as signed ones of so many bits; 0 takes them as the header says.
    """
    rows, columns = stack.slices[0].matrix
    check_voxels(str(path), (columns, rows, max(stack.count, len(stack.slices))))
    dtype = np.int16 if is_whole(stack.slices) else np.float32
    measured = np.empty((len(stack.slices), rows, columns), dtype)
    by_file: dict[int, list[int]] = {}  # the frames of each are decoded together
    for n, piece in enumerate(stack.slices):
        by_file.setdefault(id(piece.entry), []).append(n)

    def decode(numbers: list[int]) -> int:
        pieces = [stack.slices[n] for n in numbers]
        decoded = zip(numbers, pieces, frames(pieces), strict=True)
        return sum(
            to_hu(piece, as_signed(frame, sign_bits) if sign_bits else frame, measured[n])
            for n, piece, frame in decoded
        )

    with ThreadPoolExecutor(min(8, cores())) as pool:
        padding = sum(pool.map(decode, by_file.values()))
    if len(stack.slices) == stack.count and np.array_equal(stack.at, np.arange(stack.count)):
        return measured, padding
    return _on_even_grid(measured, stack), padding


def _says_hu(stack: Stack) -> bool:
    """Whether the series states how its numbers become HU; one of many frames always does."""
    header = stack.slices[0].header
    return "RescaleIntercept" in header or "PerFrameFunctionalGroupsSequence" in header


def _on_even_grid(measured: Array, stack: Stack) -> Array:
    """Measured slices where they are, and linear mixtures of neighbours, in HU, between them."""
    out = np.empty((stack.count, *measured.shape[1:]), measured.dtype)
    for k in range(stack.count):
        above = int(np.searchsorted(stack.at, k - 1e-6))
        above = min(above, len(stack.at) - 1)
        distance = stack.at[above] - k
        if abs(distance) < 1e-3 or above == 0:
            out[k] = measured[above]
            continue
        weight = distance / (stack.at[above] - stack.at[above - 1])
        mixture = weight * measured[above - 1].astype(np.float32) + (1 - weight) * measured[above].astype(np.float32)
        out[k] = np.round(mixture) if out.dtype == np.int16 else mixture
    return out


def _choice_notes(found: Catalogue, chosen: Series, why: str) -> list[str]:
    """What a user should know of the choice: nothing, when there was none."""
    if len(found.series) == 1 or why == "asked for":
        return []
    others = "; ".join(series.line() for series in found.series if series is not chosen)
    took = f"{len(found.series)} CT series: took {chosen.line()} ({why})"
    return [f"{took}; for another pass --series N, and see abdoseg info for what they are called: {others}"]


def _facts(found: Catalogue, chosen: Series, why: str, stack: Stack, geometry: Geometry) -> dict[str, Any]:
    """Where the volume comes from, without identity."""
    from pydicom.uid import UID

    attributes = chosen.slices[0].attributes
    return {
        "format": "DICOM",
        "modality": "CT",
        "transfer_syntaxes": sorted({UID(piece.syntax).name for piece in chosen.slices}),
        "series": [series.facts() for series in found.series],
        "chosen": chosen.number,
        "series_digest": chosen.digest,
        "why": why,
        "left_out": found.others,
        "measured_slices": len(stack.slices),
        "gaps_mm": [[round(gap.start_mm, 2), round(gap.stop_mm, 2), gap.missing] for gap in stack.gaps],
        "tilt_degrees": round(geometry.shear_degrees, 2),
        "patient_position": attributes["PatientPosition"][:4],
        "contrast_agent": bool(attributes["ContrastBolusAgent"].strip()),
    }
