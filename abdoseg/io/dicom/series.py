"""DICOM series: slices grouped, listed, and one series chosen; files that are no CT slices are counted by kind."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from abdoseg.errors import ScanError, SeriesError
from abdoseg.io.archive import Entry, entries
from abdoseg.io.dicom.headers import SPLITTERS, NotASliceError, Slice, listed_files, read_slices
from abdoseg.runtime.threads import cores

SAME_PLACE_MM = 0.01
PARALLEL = 0.999  # cosine of the angle between the normals of slices of one orientation
EMPTY = "empty file"
# Kinds of files that may be slices.
LOST = ("CT header without pixel data", "damaged DICOM file", "file without permission to read it", EMPTY)
IMAGE_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
PROJECTIONS = {"MIP", "MINIP", "MAXIMUM", "MINIMUM"}  # words of ImageType: vendors', and those of enhanced objects
SHARP = (
    "LUNG",
    "BONE",
    "EDGE",
    "B60",
    "B70",
    "B80",
    "BR60",
    "BL60",
    "BL64",
    "BR69",
    "YA",
    "YB",
    "YC",
    "FC50",
    "FC51",
    "FC81",
)


@dataclass(frozen=True, eq=False)
class Series:
    """Slices of one series with one orientation, matrix, pixel size and, where needed, acquisition.

    number: from 1, the best for this job first. uid and description are for the terminal, never for records.
    """

    number: int
    slices: tuple[Slice, ...]

    @property
    def uid(self) -> str:
        return self.slices[0].attributes["SeriesInstanceUID"]

    @property
    def digest(self) -> str:
        """Tells it from other series, in records: a digest of its UID, and of what parts stacks of one UID."""
        first = self.slices[0]
        numbers = np.round(np.concatenate([first.row, first.column, first.spacing_mm]), 2) + 0.0  # no -0
        return _digest([self.digest_of_0_2, *map(str, numbers.tolist())])

    @property
    def digest_of_0_2(self) -> str:
        """The digest in records of version 0.2: the same for stacks of one UID that differ in orientation alone."""
        parts = {piece.attributes[keyword] for piece in self.slices for keyword in SPLITTERS}
        return _digest([self.uid, *map(str, self.slices[0].matrix), *sorted(parts)])

    @property
    def description(self) -> str:
        return self.slices[0].attributes["SeriesDescription"]

    @property
    def folder(self) -> str:
        """Where its first file lies, from the path that was read; for the terminal, too."""
        return str(PurePosixPath(self.slices[0].entry.name.replace("\\", "/")).parent)

    @property
    def is_axial(self) -> bool:
        return bool(abs(self.slices[0].normal[2]) > 0.8)

    @property
    def is_sharp(self) -> bool:
        """Reconstructed with a kernel for lung or bone: noisy in soft tissue."""
        kernel = self.slices[0].attributes["ConvolutionKernel"].upper()
        return any(name in kernel for name in SHARP)

    @property
    def is_projection(self) -> bool:
        """Each voxel is the brightest or darkest of a slab, by ImageType. Source: DICOM PS3.3, C.8.16.1.4."""
        return not PROJECTIONS.isdisjoint(re.findall("[A-Z]+", self.slices[0].attributes["ImageType"].upper()))

    @property
    def thickness_mm(self) -> float:
        """The usual distance between slices; 0 for one slice."""
        steps = np.diff(_along(self.slices))
        steps = steps[steps > SAME_PLACE_MM]
        return float(np.median(steps)) if len(steps) else 0.0

    def facts(self) -> dict[str, Any]:
        """What the record may hold: no identity, no text that a person typed."""
        first = self.slices[0]
        return {
            "number": self.number,
            "slices": len(self.slices),
            "matrix": [first.matrix[1], first.matrix[0]],
            "spacing_mm": [round(float(n), 4) for n in (*first.spacing_mm, self.thickness_mm)],
            "axial": self.is_axial,
            "sharp_kernel": self.is_sharp,
        }

    def line(self) -> str:
        """One line of a list."""
        first = self.slices[0]
        spacing = " x ".join(f"{n:.2f}" for n in (*first.spacing_mm, self.thickness_mm))
        plane = "axial" if self.is_axial else "not axial"
        kernel = ", lung or bone kernel" if self.is_sharp else ""
        kernel += ", intensity projection" if self.is_projection else ""
        matrix = f"{first.matrix[1]} x {first.matrix[0]}"
        return f"{self.number}: {len(self.slices)} slices of {matrix}, {spacing} mm, {plane}{kernel}"


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What a path holds: CT series, best first, and how many other files there were, by what they are.

    singles: CT slices that make no stack with others, such as one of another matrix than its series, or all at one
    position, as bolus tracking has them.
    """

    path: Path
    series: tuple[Series, ...]
    others: dict[str, int]
    notes: tuple[str, ...]
    singles: tuple[Slice, ...] = ()

    def strangers(self, chosen: Series) -> list[Slice]:
        """Slices of the chosen series' UID and orientation that have another matrix or pixel size."""
        others = [*self.singles, *(piece for series in self.series if series is not chosen for piece in series.slices)]
        return [
            piece
            for piece in others
            if piece.attributes["SeriesInstanceUID"] == chosen.uid
            and abs(piece.normal @ chosen.slices[0].normal) > PARALLEL
            and not _same_pixel_grid(piece, chosen.slices[0])
        ]


class NoSeriesError(SeriesError):
    """There is no CT series of two slices; `images` are the files of other formats that are there instead."""

    def __init__(self, message: str, images: Sequence[Entry]) -> None:
        super().__init__(message)
        self.images = images


def catalogue(path: Path) -> Catalogue:
    """Reads every header under `path` and sorts what is there. Raises ScanError; SeriesError when there is no CT."""
    found: list[Slice] = []
    others: Counter[str] = Counter()
    notes: list[str] = []
    everything = entries(path, with_empty=True)
    files = [entry for entry in everything if entry.size]
    try:
        with ThreadPoolExecutor(min(8, cores())) as pool:
            results = list(pool.map(_slices_or_reason, files))
    except ScanError as error:  # which names a file that may be in any of many folders
        raise ScanError(f"{path}: {error}") from error
    for entry, result in zip(files, results, strict=True):
        if isinstance(result, str):
            others[result] += 1
            notes += _missing_files(entry, everything) if result == "DICOMDIR" else []
        else:
            found += result
    others[EMPTY] = _emptied(everything, found)
    series, singles = sort_series(found)
    if not series:
        images = [] if singles else [entry for entry in files if is_image(entry)]
        raise NoSeriesError(_describe_no_series(path, files, images, singles, others), images)
    lost = counted((kind, others[kind]) for kind in LOST if others[kind])
    notes += [f"{lost}: left out; if these are slices of it, copy or export the series again"] if lost else []
    for stack in singles:
        others["single CT slice" if len(stack) == 1 else "CT slice repeated at one position"] += len(stack)
    return Catalogue(path, series, dict(+others), tuple(notes), tuple(piece for stack in singles for piece in stack))


def _digest(facts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


def sort_series(slices: Iterable[Slice]) -> tuple[tuple[Series, ...], list[list[Slice]]]:
    """The series that slices make, the best first, and the slices that are alone or all at one position."""
    stacks = [stack for group in _groups(slices) for stack in _split(group)]
    ranked = sorted((stack for stack in stacks if _places(stack) > 1), key=_rank, reverse=True)
    series = tuple(Series(number, tuple(stack)) for number, stack in enumerate(ranked, 1))
    return series, [stack for stack in stacks if _places(stack) == 1]


def _slices_or_reason(entry: Entry) -> list[Slice] | str:
    try:
        return read_slices(entry)
    except NotASliceError as reason:
        return str(reason)


def _emptied(files: list[Entry], slices: list[Slice]) -> int:
    """How many files of 0 bytes lie beside slices and are named with the same ending, or a number as UIDs have it."""
    kinds = {_folder_and_ending(piece.entry) for piece in slices}
    return sum(not entry.size and _folder_and_ending(entry) in kinds for entry in files)


def _folder_and_ending(entry: Entry) -> tuple[PurePosixPath, str]:
    path = PurePosixPath(entry.name.replace("\\", "/"))
    return path.parent, "" if path.suffix[1:].isdigit() else path.suffix.lower()


def is_image(entry: Entry) -> bool:
    """Whether a file is of another format, by its name; the ._NAME that macOS puts beside each file is none."""
    name = PurePosixPath(entry.name.replace("\\", "/")).name.lower()
    return name.endswith(IMAGE_SUFFIXES) and not name.startswith("._")


def _missing_files(directory: Entry, files: list[Entry]) -> list[str]:
    """A note when a DICOMDIR lists images that are not there.

    Its paths start at the root of the medium, which is its own folder by the standard and one above it in some exports,
    Philips's among them: the leading folders that leave the fewest missing are skipped in all of them.
    Source: DICOM PS3.3, F.5; PS3.10, 8.2 for the names.
    """
    folder = PurePosixPath(directory.name.replace("\\", "/")).parent
    there = {entry.name.replace("\\", "/").upper() for entry in files}
    listed = listed_files(directory)
    depth = max((len(parts) for parts in listed), default=0)
    missing = min(
        (sum(str(folder.joinpath(*parts[skip:])).upper() not in there for parts in listed) for skip in range(depth)),
        default=0,
    )
    return [f"{missing} of {len(listed)} images that the DICOMDIR lists are not there"] if missing else []


def _describe_no_series(
    path: Path, files: list[Entry], images: list[Entry], singles: list[list[Slice]], others: Counter[str]
) -> str:
    """The message when no series of two slices is there."""
    count = sum(map(len, singles))
    if count == 1:
        what = "only 1 CT slice" if len(files) == 1 else f"only 1 CT slice among {len(files)} files"
        return f"{path}: {what}; a volume needs at least 2: name the folder that holds the whole series"
    if singles:
        apart = "all at one position" if len(singles) == 1 else "no 2 of them of one series and at different positions"
        return f"{path}: {count} CT slices, {apart}; name the folder of one whole series"
    if images:
        first = "unpack it and name" if path.is_file() else "name"
        listed = f"{images[0].name}, ..."
        return f"{path}: no DICOM, but {len(images)} files in other formats; {first} them one by one: {listed}"
    return f"{path}: no CT series: {counted((+others).most_common(6))}; name a folder that holds a CT"


def counted(kinds: Iterable[tuple[str, int]]) -> str:
    """Kinds of files in a sentence, each with its number.

    >>> counted([("file that is no DICOM", 3), ("MR, not CT", 1)])
    'file that is no DICOM (3); MR, not CT (1)'
    """
    return "; ".join(f"{kind} ({count})" for kind, count in kinds)


def _groups(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Slices by series and matrix, then by pixel size and orientation within a tenth of a degree."""
    groups: list[list[Slice]] = []
    by_key: dict[tuple[Any, ...], list[list[Slice]]] = {}
    for piece in slices:
        key = (piece.attributes["SeriesInstanceUID"], piece.matrix)
        for group in by_key.setdefault(key, []):
            if _alike(group[0], piece):
                group.append(piece)
                break
        else:
            by_key[key].append([piece])
            groups.append(by_key[key][-1])
    return groups


def _same_pixel_grid(one: Slice, other: Slice) -> bool:
    return one.matrix == other.matrix and np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3)


def _alike(one: Slice, other: Slice) -> bool:
    """The same orientation and pixel size, but for rounding."""
    return (
        np.allclose(one.row, other.row, atol=2e-3)
        and np.allclose(one.column, other.column, atol=2e-3)
        and np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3)
    )


def _split(group: list[Slice]) -> list[list[Slice]]:
    """Stacks that lie in one place, as the phases of a contrast study in one series do, told apart by an attribute.

    Their slices may be at the same positions or at a little distance. A few slices at one place are duplicates, not a
    second stack: they are left to the reader of pixels.
    """
    few = max(2, len(group) // 20)
    is_stack = len(group) - _places(group) <= few and _on_a_line(group)
    if is_stack and _is_even(group):
        return [group]
    for keyword in SPLITTERS:
        by_value: dict[str, list[Slice]] = {}
        for piece in group:
            by_value.setdefault(piece.attributes[keyword], []).append(piece)
        parts = list(by_value.values())
        if not (1 < len(parts) <= len(group) // 2 and all(_places(p) == len(p) and _on_a_line(p) for p in parts)):
            continue
        if not is_stack or (all(len(p) > few and _is_even(p) for p in parts) and _overlap(parts)):
            return parts
    return [group]


def _along(group: Sequence[Slice]) -> npt.NDArray[np.float64]:
    """(slices,) mm along the normal, in order."""
    return np.sort([float(piece.position @ group[0].normal) for piece in group])


def _is_even(group: list[Slice]) -> bool:
    """Whether neighbours are equally far from each other, but for rounding."""
    steps = np.diff(_along(group))
    return bool(steps.max(initial=0) <= 1.1 * steps.min(initial=np.inf))


def _overlap(parts: list[list[Slice]]) -> bool:
    """Whether all stacks share more than half of the shortest one's extent."""
    ends = np.array([_along(part)[[0, -1]] for part in parts])
    return bool(ends[:, 1].min() - ends[:, 0].max() > 0.5 * (ends[:, 1] - ends[:, 0]).min())


def _places(group: list[Slice]) -> int:
    """At how many different places along the normal the slices lie."""
    return 1 + int((np.diff(_along(group)) > SAME_PLACE_MM).sum())


def _on_a_line(group: list[Slice]) -> bool:
    """Whether the first voxels of all slices lie on one line, upright or leaning."""
    return sideways_mm(group) <= 0.5 * min(group[0].spacing_mm)


def sideways_mm(slices: list[Slice]) -> float:
    """How far a slice's first voxel lies, at most, from the line between those of the outermost slices."""
    positions = np.array([piece.position for piece in slices])
    along = positions @ slices[0].normal
    low, high = int(np.argmin(along)), int(np.argmax(along))
    if along[high] - along[low] < SAME_PLACE_MM:
        return float(np.linalg.norm(positions - positions[low], axis=1).max())
    fraction = (along - along[low]) / (along[high] - along[low])
    line = positions[low] + fraction[:, None] * (positions[high] - positions[low])
    return float(np.linalg.norm(positions - line, axis=1).max())


def _rank(stack: list[Slice]) -> tuple[Any, ...]:
    """Slices before projections, axial before others, soft kernels before sharp, many slices before few, thin before
    thick; then as numbered.
    """
    series = Series(0, tuple(stack))
    number = stack[0].attributes["SeriesNumber"]
    order = -int(number) if number.isascii() and number.isdigit() else 0
    looks = not series.is_projection, series.is_axial, not series.is_sharp
    return *looks, len(stack), -series.thickness_mm, order, series.uid


def choose(found: Catalogue, wanted: str | None) -> tuple[Series, str]:
    """The series to use, and why. Raises SeriesError when it must be asked for, or the one asked for is not there."""
    listing = "\n".join(f"  {series.line()}" for series in found.series)
    if wanted is not None:
        for series in found.series:
            if wanted in (str(series.number), series.uid) or wanted == series.digest:
                return series, "asked for"
        recorded = [series for series in found.series if wanted == series.digest_of_0_2]
        if len(recorded) == 1:
            return recorded[0], "asked for"
        if recorded:
            raise SeriesError(
                f"{found.path}: a record of version 0.2 may mean any of {len(recorded)} series; choose with --series N:"
                f"\n{listing}"
            )
        raise SeriesError(f"{found.path}: no series {wanted}; there are:\n{listing}")
    if len(found.series) == 1:
        return found.series[0], "the only CT series"
    studies = {series.slices[0].attributes["StudyInstanceUID"] for series in found.series}
    if len(studies) > 1:
        places = "\n".join(f"  {series.line()}, in {series.folder}" for series in found.series)
        raise SeriesError(
            f"{found.path}: {len(found.series)} CT series of {len(studies)} studies; name each patient's folder, "
            f"or choose with --series N:\n{places}"
        )
    best, second = found.series[:2]
    if best.is_projection != second.is_projection:
        why = "no intensity projection"
    elif best.is_axial != second.is_axial:
        why = "the only axial one" if not second.is_axial else "axial"
    elif best.is_sharp != second.is_sharp:
        why = "not a lung or bone kernel"
    elif len(best.slices) != len(second.slices):
        why = "most slices"
    elif abs(best.thickness_mm - second.thickness_mm) > 1e-3:
        why = "thinnest"
    else:
        why = "the first of equals"
    return best, why
