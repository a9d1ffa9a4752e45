"""Reads a dataset's structure: the files of each case, their label scheme, patients, annotated organs."""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from abdoseg.anatomy.label_schemes import (
    Scheme,
    contradictions,
    find_scheme,
    find_structures,
    is_scheme,
    organ_name,
    parse_scheme,
)
from abdoseg.anatomy.organs import BY_NAME
from abdoseg.errors import DatasetError, ScanError
from abdoseg.io import case_name
from abdoseg.io.dicom.label_objects import label_object_organs
from abdoseg.io.label_table import header_scheme
from abdoseg.io.record import stated_scheme
from abdoseg.training.data.file_tree import Tree, list_tree
from abdoseg.training.data.layouts import ORGAN_NAMES, CaseFiles, detect_layout


@dataclass(frozen=True)
class DatasetCase:
    """A scan with labels, or labels alone (image None): files of `tree`, and their label scheme.

    structures: organs of a DICOM object's names, as the user says; see `find_structures`.
    annotated: organs that the annotator looked for. declared: the dataset states them itself; otherwise they follow
    from the scheme, and organs that no case of the dataset shows count as not annotated.
    patient: cases of one patient are never on both sides of a split.
    """

    name: str
    tree: Tree
    image: str | None
    labels: tuple[str, ...]
    scheme: Scheme
    annotated: tuple[str, ...]
    declared: bool = False
    patient: str = ""
    weight: float = 1.0
    structures: Mapping[str, str] = field(default_factory=dict)

    def stamp(self) -> str:
        """A digest of the case's files and label scheme."""
        parts = [self.tree.stamp(name) for name in (self.image, *self.labels) if name]
        meanings = sorted(self.scheme.items()), *sorted(self.structures.items())
        return hashlib.sha256(repr((parts, *meanings)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Dataset:
    """A dataset's structure.

    layout: in words. scheme: the name of its label scheme. left_out: file or case, and why.
    """

    root: Path
    layout: str
    scheme: str
    cases: tuple[DatasetCase, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return case_name(self.root.resolve()) or "data"


def read_dataset(root: Path, labels: str = "auto", weight: float = 1.0) -> Dataset:
    """The structure of a dataset, from file names and small text files alone.

    Args:
        root: a folder, a zip or a CSV of pairs.
        labels: a label scheme by name or JSON file; auto takes the dataset's own, or the one that its layout implies.
        weight: how often its cases are drawn.

    Raises:
        DatasetError: there is no case to train on, or the label scheme is unclear.
        UsageError: there is no such label scheme.
    """
    if root.suffix.lower() == ".csv" and root.is_file():
        return _from_csv(root, labels, weight)
    tree = list_tree(root)
    layout = detect_layout(tree.names)
    name, shared = _scheme_of(tree, layout.scheme, labels)
    cases, left_out = [], list(layout.left_out)
    for found in layout.cases:
        own = _own_scheme(tree, found)
        scheme = shared if labels != "auto" else own or shared
        if own and scheme and (apart := contradictions(scheme, own)):
            source, remedy = found.sidecar, ", or move the JSON files beside the labels away"
            if source is None:
                source, remedy = f"the header of {found.labels[0]}", ", or make a CSV of pairs, whose scheme counts"
            raise DatasetError(f"{root}: --labels {labels}, but {source} says that {apart}; leave --labels out{remedy}")
        if scheme is None:
            why = "no image has its name, and its numbers are unknown; list pairs in a CSV, or state them with --labels"
            left_out.append((found.labels[0], why))
            continue
        try:
            cases.append(_case(tree, found, scheme, weight, find_structures(labels)))
        except ScanError as error:
            left_out.append((found.labels[0], str(error)))
    if not cases:
        reasons = "; ".join(f"{what}: {why}" for what, why in left_out[:3])
        raise DatasetError(f"{root}: no case to train on among {len(tree.names)} files ({reasons or 'no scans'})")
    if name == "auto":
        name = "the JSON beside each map, or its header"
    return Dataset(root, layout.name, name, tuple(cases), tuple(left_out))


def _scheme_of(tree: Tree, layout_scheme: str | None, labels: str) -> tuple[str, Scheme | None]:
    if labels != "auto":
        return labels, find_scheme(labels)
    if layout_scheme == "dataset.json":
        name, *more = [name for name in tree.names if Path(name).name == "dataset.json"]
        if more:
            raise DatasetError(
                f"{tree.root}: several datasets, each with a dataset.json of its own ({name}, {more[0]}); give "
                "each its own --data"
            )
        return "dataset.json", parse_scheme(tree.text(name), name)
    if layout_scheme in (None, ORGAN_NAMES):
        return layout_scheme or "auto", {} if layout_scheme else None
    return layout_scheme, find_scheme(layout_scheme)


def _own_scheme(tree: Tree, found: CaseFiles) -> Scheme | None:
    """What a JSON file beside the labels, or of a single file its own header, says of their numbers."""
    if found.sidecar is not None and is_scheme(text := tree.text(found.sidecar)):
        return parse_scheme(text, found.sidecar)
    if len(found.labels) > 1:
        return None
    with tree.opened(found.labels[0]) as path:
        return header_scheme(path) or None


def _case(tree: Tree, found: CaseFiles, scheme: Scheme, weight: float, structures: Mapping[str, str]) -> DatasetCase:
    annotated: tuple[str, ...] | None = None
    if found.labels[0].endswith("/") or found.labels[0].lower().endswith(".dcm"):
        with tree.opened(found.labels[0]) as path:
            annotated = label_object_organs(path, structures)
    elif len(found.labels) > 1 or not scheme:  # a mask an organ: numbers follow the files
        scheme = {number: organ_name(case_name(name)) for number, name in enumerate(found.labels, start=1)}
    return DatasetCase(
        found.case, tree, found.image, found.labels, scheme,
        annotated_by(scheme) if annotated is None else annotated, declared=annotated is not None,
        patient=_patient(tree, found.image) or found.case, weight=weight, structures=structures,
    )  # fmt: skip


def annotated_by(scheme: Scheme) -> tuple[str, ...]:
    """Our organs among a scheme's names, in our order; `kidney` is both kidneys."""
    names = set(scheme.values())
    if "kidney" in names:
        names |= {"kidney_right", "kidney_left"}
    return tuple(organ for organ in BY_NAME if organ in names)


def _patient(tree: Tree, image: str | None) -> str | None:
    """A digest of a DICOM folder's PatientID, held in memory only; None for other scans."""
    if image is None or not image.endswith("/") or tree.zipped:
        return None
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    first = next((name for name in tree.names if name.startswith(image)), None)
    if first is None:
        return None
    try:
        identity = dcmread(tree.root / first, stop_before_pixels=True, specific_tags=["PatientID"]).get("PatientID")
    except (InvalidDicomError, OSError):
        return None
    return hashlib.sha256(str(identity).encode()).hexdigest() if identity else None


def _from_csv(path: Path, labels: str, weight: float) -> Dataset:
    """Columns image and labels (paths beside the CSV); case, patient, scheme, annotated and weight if they are there.

    An empty image is a label map alone; annotated lists organs, separated by spaces.
    """
    cases, left_out = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [
                {name: (value or "").strip() for name, value in row.items() if name} for row in csv.DictReader(file)
            ]
    except (UnicodeDecodeError, csv.Error, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: no CSV in UTF-8 ({error}); save it as such") from error
    if not rows or not {"image", "labels"} <= set(rows[0]):
        raise DatasetError(f"{path}: a CSV of pairs needs a header with the columns image and labels, and a row a case")
    for row in rows:
        files = [row["image"], row["labels"]]
        missing = [name for name in files if name and not (path.parent / name).exists()]
        if missing or not row["labels"]:
            left_out.append((row["labels"] or row["image"], f"no such file: {', '.join(missing) or 'no labels named'}"))
            continue
        stated = stated_scheme(path.parent / row["labels"]) if labels == "auto" else None
        chosen = row.get("scheme") or (labels if labels != "auto" else stated[1] if stated else "abdoseg")
        image = _as_folder(path.parent, row["image"])
        case_id = row.get("case") or case_name(row["image"] or row["labels"])
        if re.search(r"[/\\\0]", case_id) or case_id in (".", ".."):  # packed data and pictures are named after it
            raise DatasetError(f"{path}: the case {case_id!r} cannot name a file; leave out slashes and dots alone")
        found = CaseFiles(case_id, image or None, (row["labels"],))
        tree = Tree(path.parent, _stamps(path.parent, [name for name in (image, row["labels"]) if name]))
        weighed = _weight(path, row.get("weight"), weight)
        case = _case(tree, found, find_scheme(chosen), weighed, find_structures(chosen))
        if row.get("annotated"):
            named = tuple(organ_name(name) for name in row["annotated"].split())
            if unknown := [name for name in named if name not in BY_NAME]:
                raise DatasetError(
                    f"{path}: {row['labels']} is annotated for {', '.join(unknown)}, which is no organ here; "
                    f"names, with spaces between, are {', '.join(BY_NAME)}"
                )
            case = replace(case, annotated=tuple(o for o in BY_NAME if o in named), declared=True)
        cases.append(replace(case, patient=row.get("patient") or case.patient))
    if not cases:
        raise DatasetError(f"{path}: none of its {len(rows)} pairs can be used ({left_out[0][0]}: {left_out[0][1]})")
    scheme = "column scheme" if "scheme" in rows[0] else labels if labels != "auto" else "abdoseg"
    return Dataset(path, "a CSV of pairs", scheme, tuple(cases), tuple(left_out))


def _as_folder(root: Path, name: str) -> str:
    """The name, which of a folder ends in a slash."""
    return f"{name.rstrip('/')}/" if name and (root / name).is_dir() else name


def _stamps(root: Path, names: Sequence[str]) -> dict[str, str]:
    """As a Tree has them: of files, and of all that is in folders."""
    stamps: dict[str, str] = {}
    for name in names:
        if name.endswith("/"):
            stamps |= {name + inside: stamp for inside, stamp in list_tree(root / name).stamps.items()}
        else:
            status = (root / name).stat()
            stamps[name] = f"{status.st_size}-{status.st_mtime_ns}"
    return stamps


def _weight(path: Path, text: str | None, otherwise: float) -> float:
    """A row's weight. Raises DatasetError."""
    try:
        weight = float(text or otherwise)
    except ValueError:
        weight = 0.0
    if not 0 < weight < math.inf:
        raise DatasetError(f"{path}: the weight {text!r} is no number above 0")
    return weight
