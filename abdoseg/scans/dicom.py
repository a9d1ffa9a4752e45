"""DICOM slices to one volume in HU.

Source: DICOM PS3.3, C.11.1 (HU = slope x stored + intercept), C.7.5.1.1.2 (padding); PS3.5, 8 and A (encodings).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from abdoseg.errors import AbdosegError, ScanError, SeriesError
from abdoseg.scans.headers import Slice, read_dataset
from abdoseg.scans.limits import check_voxels
from abdoseg.scans.scan_file import Remark
from abdoseg.scans.series import Catalogue, Series, catalogue, choose
from abdoseg.scans.stack import Stack, stacked
from abdoseg.volume import Array, Geometry, Stored, Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

AIR, HIGHEST = -1024, 32767
RLE = "1.2.840.10008.1.2.5"
TISSUE_HU = (-900, 3071)  # a padding value that means one of these is not believed


def read_dicom(path: Path, *, series: str | None = None, gaps: str = "fill", keep: Sequence[str] = ()) -> Volume:
    """The best CT series under `path`, or the one asked for.

    Raises SeriesError, ScanError, ResourceError, UsageError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of every letter out of place; what matters is checked here
        found = catalogue(path)
        chosen, why = choose(found, series)
        check_decodable(path, chosen.slices)
        stack = stacked(f"{path}", chosen.slices, gaps, _same_pixels)
        array = _voxels(path, stack)
    rows, columns = stack.slices[0].matrix
    stored = Stored(Geometry((columns, rows, stack.count), stack.affine))
    notes = [*found.notes, *_choice_notes(found, chosen, why), *stack.notes]
    if stored.geometry.shear_degrees > 0.01:
        tilt = f"the gantry was tilted by {stored.geometry.shear_degrees:.1f} degrees; the slices' lean is kept"
        notes.append(Remark(tilt))
    details = _facts(found, chosen, why, stack, stored.geometry)
    if keep:
        first = stack.slices[0].header
        details["kept"] = {keyword: str(first.get(keyword, "")) for keyword in keep}
    return Volume(stored.to_canonical(array.T), stored.canonical(), stored, tuple(notes), details)


def ordered_headers(path: Path, *, series: str | None = None, gaps: str = "fill") -> list[tuple[Dataset, int, float]]:
    """For writers of DICOM: (header, frame, place along K of the stored grid) of each slice of the series chosen.

    The same series and order as `read_dicom` gives; headers are without pixels. They hold the patient's identity.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen, _ = choose(catalogue(path), series)
        stack = stacked(f"{path}", chosen.slices, gaps, _same_pixels)
    return [(piece.header, piece.frame, float(at)) for piece, at in zip(stack.slices, stack.at, strict=True)]


def check_decodable(path: Path, slices: Sequence[Slice]) -> None:
    """Raises SeriesError naming a transfer syntax that no decoder here knows."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    for syntax in sorted({UID(str(_syntax(piece))) for piece in slices}):
        try:
            known = get_decoder(syntax).is_available
        except NotImplementedError:
            known = False
        if not known:
            raise SeriesError(
                f"{path}: transfer syntax {syntax} ({syntax.name}) cannot be decoded; decompress it first, "
                "with gdcmconv --raw for one"
            )


def _syntax(piece: Slice) -> str:
    """Implicit little endian where the file does not say, as DICOM's default has it. Source: PS3.5, 10.1."""
    meta = getattr(piece.header, "file_meta", None)
    return str(meta.get("TransferSyntaxUID", "1.2.840.10008.1.2")) if meta else "1.2.840.10008.1.2"


def _voxels(path: Path, stack: Stack) -> Array:
    """(K, J, I) HU: int16 where every slope and intercept is whole, otherwise float32."""
    rows, columns = stack.slices[0].matrix
    check_voxels(str(path), (columns, rows, max(stack.count, len(stack.slices))))
    whole = all(piece.slope % 1 == 0 == piece.intercept % 1 for piece in stack.slices)
    measured = np.empty((len(stack.slices), rows, columns), np.int16 if whole else np.float32)
    jobs: dict[str, list[int]] = {}
    for n, piece in enumerate(stack.slices):
        jobs.setdefault(piece.entry.name, []).append(n)

    def decode(numbers: list[int]) -> None:
        pieces = [stack.slices[n] for n in numbers]
        for n, piece, frame in zip(numbers, pieces, frames(pieces), strict=True):
            _to_hu(piece, frame, measured[n])

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(decode, jobs.values()):
            pass
    if len(stack.slices) == stack.count and np.array_equal(stack.at, np.arange(stack.count)):
        return measured
    return _on_even_grid(measured, stack)


def frames(pieces: Sequence[Slice]) -> list[Array]:
    """The stored numbers of slices of one file, (rows, columns) each. Raises ScanError."""
    entry = pieces[0].entry
    try:
        from pydicom.pixels import iter_pixels

        dataset = read_dataset(entry, pixels=True)
        if "PixelData" not in dataset:
            raise ScanError(f"{entry.name}: no pixel data in the file; export the series again")
        indices = [piece.frame for piece in pieces] if len(pieces) > 1 or pieces[0].frame else None
        plugin = "pydicom" if _syntax(pieces[0]) == RLE else ""  # the faster one panics over damaged data
        found = list(iter_pixels(dataset, indices=indices, raw=True, decoding_plugin=plugin))[: len(pieces)]
    except AbdosegError:
        raise
    except Exception as error:  # pydicom and its decoders meet damaged pixels with exceptions of every kind
        raise ScanError(
            f"{entry.name}: truncated or damaged pixel data ({type(error).__name__}); export it again"
        ) from error
    for piece, frame in zip(pieces, found, strict=True):
        if frame.shape != piece.matrix:
            raise ScanError(
                f"{entry.name}: the pixels are {frame.shape}, the header says {piece.matrix}; export it again"
            )
    return found


def _to_hu(piece: Slice, frame: Array, out: Array) -> None:
    """Writes a slice's HU to `out`; padding and everything below air becomes air."""
    if out.dtype == np.int16:
        hu = frame.astype(np.int64) * int(piece.slope) + int(piece.intercept)
        np.clip(hu, AIR, HIGHEST, out=hu)
    else:
        hu = np.maximum(frame * np.float64(piece.slope) + piece.intercept, AIR)
    padding = piece.header.get("PixelPaddingValue")
    if isinstance(padding, int):
        means = padding * piece.slope + piece.intercept
        if not TISSUE_HU[0] <= means <= TISSUE_HU[1]:
            hu[frame == padding] = AIR
    out[:] = hu


def _same_pixels(one: Slice, other: Slice) -> bool:
    a, b = (np.empty(piece.matrix, np.float32) for piece in (one, other))
    _to_hu(one, frames([one])[0], a)
    _to_hu(other, frames([other])[0], b)
    return bool(np.array_equal(a, b))


def _on_even_grid(measured: Array, stack: Stack) -> Array:
    """Measured slices where they are, and linear mixtures of neighbours, in HU, between them."""
    out = np.empty((stack.count, *measured.shape[1:]), measured.dtype)
    for k in range(stack.count):
        above = int(np.searchsorted(stack.at, k - 1e-6))
        above = min(above, len(stack.at) - 1)
        share = stack.at[above] - k
        if abs(share) < 1e-3 or above == 0:
            out[k] = measured[above]
            continue
        weight = share / (stack.at[above] - stack.at[above - 1])
        mixture = weight * measured[above - 1].astype(np.float32) + (1 - weight) * measured[above].astype(np.float32)
        out[k] = np.round(mixture) if out.dtype == np.int16 else mixture
    return out


def _choice_notes(found: Catalogue, chosen: Series, why: str) -> list[str]:
    """What a user should know of the choice: nothing, when there was none."""
    if len(found.series) == 1 or why == "asked for":
        return []
    others = "; ".join(series.line() for series in found.series if series is not chosen)
    return [f"{len(found.series)} CT series: took {chosen.line()} ({why}); for another pass --series N: {others}"]


def _facts(found: Catalogue, chosen: Series, why: str, stack: Stack, geometry: Geometry) -> dict[str, Any]:
    """Where the volume comes from, without identity."""
    from pydicom.uid import UID

    first = chosen.slices[0].header
    return {
        "format": "DICOM",
        "modality": "CT",
        "transfer_syntaxes": sorted({UID(_syntax(piece)).name for piece in chosen.slices}),
        "series": [series.facts() for series in found.series],
        "chosen": chosen.number,
        "why": why,
        "left_out": found.others,
        "measured_slices": len(stack.slices),
        "gaps_mm": [[round(gap.start_mm, 2), round(gap.stop_mm, 2), gap.missing] for gap in stack.gaps],
        "tilt_degrees": round(geometry.shear_degrees, 2),
        "patient_position": str(first.get("PatientPosition", ""))[:4],
        "contrast_agent": bool(str(first.get("ContrastBolusAgent", "") or "").strip()),
    }
