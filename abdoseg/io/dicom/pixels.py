"""DICOM pixels: decoded from any transfer syntax and taken to HU.

Source: DICOM PS3.3, C.11.1 (HU = slope x stored + intercept), C.7.5.1.1.2 (padding); PS3.5, 8 and A (encodings).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from abdoseg.errors import AbdosegError, ScanError, SeriesError
from abdoseg.image.hounsfield import AIR_HU
from abdoseg.image.volume import Array
from abdoseg.io.dicom.headers import Slice, read_dataset

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

HIGHEST = 32767
LOWEST = -4096  # below any stored number that scanners write with a sign, padding included
TISSUE_HU = (-900, 3071)  # a padding value that means one of these is not believed
LARGEST_SLOPE = 2**14  # beyond it, and beyond 16 bits, HU are computed as float
RLE = "1.2.840.10008.1.2.5"
J2K = b"\xff\x4f\xff\x51"  # start of codestream, then its size. Source: ISO/IEC 15444-1, A.4 and A.5.1
# Markers of a frame header of JPEG and JPEG-LS. Source: ITU-T T.81, table B.1; T.87, C.1.1.
FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def check_decodable(path: Path, slices: Sequence[Slice]) -> None:
    """Raises SeriesError naming a transfer syntax that no decoder here knows."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    for uid in sorted({UID(piece.syntax) for piece in slices}):
        try:
            known = get_decoder(uid).is_available
        except NotImplementedError:
            known = False
        if not known:
            raise SeriesError(
                f"{path}: transfer syntax {uid} ({uid.name}) cannot be decoded; decompress it first, "
                "with gdcmconv --raw for one"
            )


def frames(pieces: Sequence[Slice]) -> Iterator[Array]:
    """The stored numbers of slices of one file, (rows, columns) each, one at a time. Raises ScanError."""
    from pydicom.pixels import iter_pixels

    name = pieces[0].entry.name
    indices = [piece.frame for piece in pieces] if len(pieces) > 1 or pieces[0].frame else None
    plugin = "pydicom" if pieces[0].syntax == RLE else ""  # the faster one panics over damaged data
    try:
        dataset = read_dataset(pieces[0].entry, pixels=True)
        _check_pixels(name, dataset, pieces)
        decoded = iter_pixels(dataset, indices=indices, raw=True, decoding_plugin=plugin)
        for piece in pieces:
            frame = next(decoded)
            if frame.shape != piece.matrix:
                raise ScanError(f"{name}: pixels of {frame.shape}, but a header for {piece.matrix}; export it again")
            yield frame
    except (AbdosegError, Warning):
        raise
    except Exception as error:  # pydicom and its decoders meet damaged pixels with exceptions of every kind
        if isinstance(error, OSError) and error.errno:  # decoders raise some without a number
            raise ScanError(f"{name}: cannot be read ({error.strerror})") from error
        word = type(error).__name__
        raise ScanError(f"{name}: truncated or damaged pixel data ({word}); export it again") from error


def _check_pixels(name: str, dataset: Dataset, pieces: Sequence[Slice]) -> None:
    """That there are pixels, and that no codestream unfolds to more of them than its header says. Raises ScanError."""
    from pydicom.encaps import get_frame

    if "PixelData" not in dataset:
        raise ScanError(f"{name}: no pixel data in the file; export the series again")
    if not dataset["PixelData"].is_undefined_length:
        return
    number = int(dataset.get("NumberOfFrames") or 1)
    for piece in pieces:
        size = codestream_size(get_frame(dataset.PixelData, piece.frame, number_of_frames=number))
        if size is not None and size != piece.matrix:
            raise ScanError(f"{name}: encoded pixels of {size}, but a header for {piece.matrix}; export it again")


def codestream_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream says it has; None for other encodings."""
    if (start := data.find(J2K, 0, 1024)) >= 0:
        right, bottom, left, top = (int.from_bytes(data[start + n : start + n + 4]) for n in (8, 12, 16, 20))
        return bottom - top, right - left
    if not data.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in FRAME_HEADERS:
            return int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def hidden_sign_bits(piece: Slice) -> int:
    """The bits of stored numbers that are signed although PixelRepresentation calls them unsigned; 0 if they are not.

    So they are where a JPEG 2000 codestream says so, and where 16 bits hold small numbers, numbers just below 65536,
    and none between. Pixels that cannot be decoded are left to `frames` to report.
    """
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import get_j2k_parameters

    try:
        dataset = read_dataset(piece.entry, pixels=True)
        if int(dataset.get("PixelRepresentation", 0)):
            return 0
        if dataset["PixelData"].is_undefined_length:
            count = int(dataset.get("NumberOfFrames") or 1)
            codestream = get_j2k_parameters(get_frame(dataset.PixelData, piece.frame, number_of_frames=count))
            if codestream.get("is_signed"):
                return int(codestream["precision"])
        frame = next(frames([piece])).astype(np.int64)
    except Warning:
        raise
    except Exception:
        return 0
    frame = frame[frame != piece.padding]
    negative = frame >= 2**15
    is_split = negative.any() and frame[negative].min() >= 2**16 + LOWEST and frame[~negative].max(initial=0) < HIGHEST
    return 16 if is_split else 0


def as_signed(frame: Array, bits: int) -> Array:
    """Unsigned numbers whose two's complement in that many bits is meant, as int32."""
    half = 1 << (bits - 1)
    return (((frame.astype(np.int32) & (2 * half - 1)) ^ half) - half).astype(np.int32)


def is_whole(pieces: Sequence[Slice]) -> bool:
    """Whether HU can be computed in integers: slopes and intercepts are whole, and the stored numbers short."""
    return all(
        piece.slope % 1 == 0 == piece.intercept % 1
        and abs(piece.slope) <= LARGEST_SLOPE
        and abs(piece.intercept) <= 2**24
        and piece.bits <= 16
        for piece in pieces
    )


def to_hu(piece: Slice, frame: Array, out: Array) -> int:
    """Writes a slice's HU to `out`, int16 or float32, and gives the number of voxels of padding, which become air.

    Padding is what PixelPaddingValue says, unless that would be tissue, and everything below air.
    """
    hu: Array
    if out.dtype == np.int16:
        hu = frame.astype(np.int32)
        if piece.slope != 1:
            hu *= int(piece.slope)
        hu += int(piece.intercept)
        np.minimum(hu, HIGHEST, out=hu)
    else:
        hu = frame * np.float64(piece.slope) + piece.intercept
    padding = hu < AIR_HU
    value = piece.padding
    if value is not None and not TISSUE_HU[0] <= value * piece.slope + piece.intercept <= TISSUE_HU[1]:
        padding |= frame == value
    np.copyto(hu, AIR_HU, where=padding)
    out[:] = hu
    return int(np.count_nonzero(padding))


def same_pixels(one: Slice, other: Slice) -> bool:
    """Whether two slices hold the same HU."""
    a, b = (np.empty(piece.matrix, np.float32) for piece in (one, other))
    to_hu(one, next(frames([one])), a)
    to_hu(other, next(frames([other])), b)
    return bool(np.array_equal(a, b))
