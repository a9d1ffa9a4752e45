"""Pairs of prediction and ground truth by case name; the truths give the list."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from abdoseg.errors import DatasetError
from abdoseg.io import case_name

LABEL_FILES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr", ".dcm")
ENDINGS = re.compile(r"(?<=.)([_-](0000|ct|seg|segmentation|labels?|mask|pred|prediction|gt|truth))$", re.IGNORECASE)
SCAN = re.compile(r"[_-](0000|ct)[.][a-z.]+$", re.IGNORECASE)  # where the case has a file of another name too


@dataclass(frozen=True)
class Pair:
    """One case: the truth's file, and the prediction's, or None when there is none."""

    case: str
    truth: Path
    prediction: Path | None


@dataclass(frozen=True)
class Pairing:
    """The pairs in the order of the case names, and predictions for which there is no truth."""

    pairs: tuple[Pair, ...]
    extra: tuple[Path, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Cases that have no prediction."""
        return tuple(pair.case for pair in self.pairs if pair.prediction is None)


def find_pairs(prediction: Path, truth: Path) -> Pairing:
    """The pairs of two folders, by case name, or of two files, whatever they are called.

    Raises:
        DatasetError: a path is missing, holds no label file, or holds two for one case; or there are only folders in
            that of the predictions.
    """
    if prediction.is_file() and truth.is_file():
        return Pairing((Pair(case_of(truth), truth, prediction),))
    truths, predictions = label_files(truth), label_files(prediction, needed=False)
    if not predictions and (folders := _folders(prediction)):
        raise DatasetError(
            f"{prediction}: holds folders ({first_names(folders)}) and no label files; name the folder of those. "
            "Of folders of masks, one an organ, `abdoseg export FOLDER ... --nifti` makes label files"
        )
    if not set(truths) & set(predictions) and predictions:
        raise DatasetError(
            f"{prediction}: none of its cases ({first_names(list(predictions))}) is among those of {truth} "
            f"({first_names(list(truths))}); name the folders in the order PREDICTIONS TRUTHS, with matching file names"
        )
    pairs = tuple(Pair(case, path, predictions.get(case)) for case, path in truths.items())
    return Pairing(pairs, tuple(path for case, path in predictions.items() if case not in truths))


def label_files(place: Path, needed: bool = True) -> dict[str, Path]:
    """The label files of a folder, or the one file, by case name: not hidden files, nor scans beside their labels."""
    if not place.exists():
        raise DatasetError(f"{place}: no such file or folder")
    files = [place] if place.is_file() else sorted(path for path in place.iterdir() if _is_label_file(path))
    if needed and not files:
        raise DatasetError(f"{place}: no label files ({', '.join(LABEL_FILES)}); name the folder that holds them")
    return by_case(place, files)


def by_case(place: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Label files of one place by case name. Raises DatasetError when two are of one case."""
    found: dict[str, Path] = {}
    for path in files:
        case = case_of(path)
        if case in found and _is_scan(path) == _is_scan(found[case]):
            raise DatasetError(f"{place}: {found[case].name} and {path.name} are both case {case!r}; leave one of them")
        if case not in found or not _is_scan(path):
            found[case] = path
    return found


def scan_files(folder: Path, labels: Collection[Path]) -> dict[str, Path]:
    """The scans of a folder by case name; label files may lie beside them. labels: those that are known to be none."""
    known, found = {path.resolve() for path in labels}, dict[str, Path]()
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.resolve() in known:
            continue
        if case_of(path) not in found or _is_scan(path):
            found[case_of(path)] = path
    return found


def case_of(path: Path) -> str:
    """The case that a label file is of: its name without suffixes, `_0000`, `_seg` and the like."""
    name = case_name(path)
    while ENDINGS.search(name):
        name = ENDINGS.sub("", name)
    return name


def _is_scan(path: Path) -> bool:
    return bool(SCAN.search(path.name))


def _is_label_file(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.name.lower().endswith(LABEL_FILES)


def _folders(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def first_names(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
