"""DICOM label objects: finds the SEG or RTSTRUCT behind a path and draws its organs on the grid of its series."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME, LESIONS
from abdoseg.errors import AbdosegError, ScanError, SeriesError
from abdoseg.image.volume import Stored
from abdoseg.io.archive import Entry, entries
from abdoseg.io.dicom.headers import NotASliceError, is_dicom, read_dataset
from abdoseg.io.dicom.organ_codes import NOTHING, name_segments
from abdoseg.io.dicom.reader import series_grid
from abdoseg.io.dicom.segmentation import describe_segments, own_grid, place_segments
from abdoseg.io.dicom.series import is_image
from abdoseg.io.dicom.structures import describe_structures, draw_structures

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LOG = logging.getLogger("abdoseg")
MODALITIES = ("SEG", "RTSTRUCT")
KIDNEY = 255  # the number of both kidneys in one segment, which is then split by side


def read_label_object(
    path: Path, grid: Stored | None, known: Mapping[str, str] = NOTHING
) -> tuple[npt.NDArray[np.uint8], Stored, Mapping[int, str]]:
    """Reads the organs of a DICOM SEG or RTSTRUCT.

    Args:
        path: the file, or a folder or zip that holds one.
        grid: the grid to draw on; without it, that of the series it refers to, when that lies in the same folder, or
            for a SEG the grid of its own frames.
        known: organs of segment labels and ROI names, where these do not say them.

    Returns:
        Labels in the grid's stored axes, (I, J, K); the grid; and the organ of each label. Lesions lie over organs.
        A SEG whose pixels do not lie on `grid` comes on its own.

    Raises:
        ScanError: when there is no such object, it is damaged, names no organ of ours, or an RTSTRUCT has no grid to
            be drawn on.
        GeometryError: when an RTSTRUCT's contours do not lie in the grid's slices.
    """
    entry = _find_object(path)
    with _telling_damage(path):
        dataset = read_dataset(entry, pixels=True)
        is_seg = str(dataset.get("Modality", "")) == "SEG"
        names = _organ_names(path, dataset, known)
        numbers = _label_numbers(names)
        organs = {label: names[number] for number, label in numbers.items()}
        grid = grid or _grid_of_series(path, _series_uid(dataset))
        if is_seg:
            labels = None if grid is None else place_segments(entry, dataset, grid.geometry, numbers)
            if labels is None or grid is None:
                grid = Stored(own_grid(entry, dataset))
                labels = place_segments(entry, dataset, grid.geometry, numbers)
            if labels is None:
                raise ScanError(f"{path}: the frames of this SEG do not lie on one grid")
            return labels, grid, organs
        if grid is None:
            raise ScanError(
                f"{path}: the series that this RTSTRUCT was drawn on is not beside it; put both into one folder, "
                "or name the series or a scan on its grid"
            )
        return draw_structures(dataset, grid.geometry, numbers), grid, organs


@contextmanager
def _telling_damage(path: Path) -> Iterator[None]:
    """Raises ScanError for whatever a damaged object meets inside."""
    try:
        yield
    except (AbdosegError, Warning):
        raise
    except NotASliceError as error:
        raise ScanError(f"{path}: {error}, where the frames of a SEG have one") from error
    except Exception as error:  # pydicom and its decoders meet damaged files with exceptions of every kind
        raise ScanError(f"{path}: damaged DICOM object ({type(error).__name__}); export it again") from error


def is_label_object(path: Path) -> bool:
    """Whether a path is a DICOM SEG or RTSTRUCT itself; False for folders, zips, and what is not there."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            if not is_dicom(file.read(132)):
                return False
    except OSError:  # reading it will say why
        return False
    return _modality(entries(path)[0]) in MODALITIES


def label_object_organs(path: Path, known: Mapping[str, str] = NOTHING) -> tuple[str, ...]:
    """The organs of ours that a SEG or RTSTRUCT names, from its header alone, in our order. Raises ScanError.

    known: organs of its names, as the user says.
    """
    entry = _find_object(path)
    with _telling_damage(path):
        named = {*_organ_names(path, read_dataset(entry, pixels=False), known).values()}
    if "kidney" in named:
        named |= {"kidney_right", "kidney_left"}
    return tuple(organ for organ in BY_NAME if organ in named)


def _organ_names(path: Path, dataset: Dataset, known: Mapping[str, str]) -> dict[int, str]:
    """Number to organ name. Says which count as one organ. Raises ScanError, with the names, when none is ours."""
    is_seg = str(dataset.get("Modality", "")) == "SEG"
    described = (describe_segments if is_seg else describe_structures)(dataset)
    names = name_segments(described, known)
    stated = {number: label for number, (label, *_) in described.items()}
    if names and not _label_numbers(names):
        listed = ", ".join(sorted(stated[number] or "one without a name" for number in names))
        raise ScanError(
            f"{path}: none of its {len(names)} {'segments' if is_seg else 'ROIs'} is named or coded as an organ known "
            f"here: {listed}; say which is which in a JSON file, such as "
            f'{{"{next(iter(stated.values()))}": "liver"}}, and pass it as --labels, '
            "in eval as --pred-labels or --gt-labels"
        )
    for organ in sorted({*names.values()} - {*LESIONS}):
        alike = [stated[number] for number, name in names.items() if name == organ]
        if organ in BY_NAME and len(alike) > 1:
            LOG.warning("%s: %s are all taken as %s", path, ", ".join(alike), organ)
    return names


def _find_object(path: Path) -> Entry:
    """The one SEG or RTSTRUCT behind a path. Raises ScanError when there is none, or several."""
    files = entries(path)
    found = [entry for entry in files if _modality(entry) in MODALITIES]
    if not found and (images := [entry.name for entry in files if is_image(entry)]):
        first = "unpack it and name" if path.is_file() else "name"
        raise ScanError(
            f"{path}: no SEG or RTSTRUCT, but {len(images)} files in other formats; {first} one: {images[0]}"
        )
    if not found:
        raise ScanError(f"{path}: DICOM without a SEG or RTSTRUCT, where labels are needed")
    if len(found) > 1:
        raise ScanError(f"{path}: {len(found)} SEG or RTSTRUCT files; name one of them: {found[0].name}, ...")
    return found[0]


def _modality(entry: Entry) -> str:
    """'' for what is no DICOM, or damaged."""
    try:
        return str(read_dataset(entry, pixels=False).get("Modality", ""))
    except Exception:  # as in read_slices
        return ""


def _label_numbers(names: Mapping[int, str]) -> dict[int, int]:
    """Segment to the label to draw, organs before the lesions that lie in them; structures not ours are left out."""
    ours = {name: organ.label for name, organ in BY_NAME.items()} | {"kidney": KIDNEY}
    numbers = {number: ours[name] for number, name in names.items() if name in ours}
    return dict(sorted(numbers.items(), key=lambda pair: names[pair[0]] in LESIONS))


def _series_uid(dataset: Dataset) -> str:
    """SeriesInstanceUID of the series that the object refers to; '' when it does not say."""
    if str(dataset.get("Modality", "")) == "SEG":
        series = dataset.get("ReferencedSeriesSequence") or ()
    else:
        frames = dataset.get("ReferencedFrameOfReferenceSequence") or ()
        studies = [study for frame in frames for study in frame.get("RTReferencedStudySequence") or ()]
        series = [one for study in studies for one in study.get("RTReferencedSeriesSequence") or ()]
    return str(next((one.get("SeriesInstanceUID", "") for one in series), ""))


def _grid_of_series(path: Path, uid: str) -> Stored | None:
    """The grid of a series in the object's folder or zip; None when it is not there."""
    if not uid:
        return None
    place = path if path.is_dir() or not is_label_object(path) else path.parent
    try:
        return series_grid(place, series=uid, gaps="fill")
    except SeriesError:
        return None
