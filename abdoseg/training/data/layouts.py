"""Detects the layout of a dataset from file names: which image belongs to which labels, and the label scheme."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from abdoseg.io import case_name

ORGAN_NAMES = "organ names"  # the scheme of masks that are named by their organs
Role = Literal["image", "labels"]
SCANS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".hdr")
IMAGE_FOLDERS = {"images", "image", "imagestr", "imagesva", "img", "imgs", "scans", "ct", "averaged-training-images"}
LABEL_FOLDERS = {"labels", "label", "labelstr", "labelsva", "masks", "mask", "segs", "seg", "averaged-training-labels"}
UNLABELLED_FOLDERS = {"imagests", "averaged-testing-images"}
# Names that say what a file is, not whose it is: the case is then the folder.
PLAIN: dict[str, Role] = {
    "ct": "image", "image": "image", "imaging": "image", "scan": "image", "volume": "image", "dicom": "image",
    "patient_dicom": "image", "seg": "labels", "label": "labels", "labels": "labels", "mask": "labels",
    "segmentation": "labels", "gt": "labels", "truth": "labels",
}  # fmt: skip
_TAIL = re.compile(r"[_-](ct|image|img|scan|seg|segmentation|labels?|gt|mask|truth)$", re.IGNORECASE)
_HEAD = re.compile(r"^(img|image|volume|ct|label|segmentation|seg|mask)[-_]?(?=\d+$)", re.IGNORECASE)


@dataclass(frozen=True)
class CaseFiles:
    """The files of a case. image: None for label maps alone; a DICOM folder ends in a slash.

    labels: one file, or one mask an organ, named by the organ. sidecar: a JSON file named as the labels are.
    """

    case: str
    image: str | None
    labels: tuple[str, ...]
    sidecar: str | None = None


@dataclass(frozen=True)
class Layout:
    """The cases found in a dataset. name: the layout, in words. scheme: the label scheme that it implies.

    left_out: file or case, and why.
    """

    name: str
    scheme: str | None
    cases: tuple[CaseFiles, ...]
    left_out: tuple[tuple[str, str], ...] = ()


def detect_layout(names: Sequence[str]) -> Layout:
    """The layout of a dataset with files of these names (relative, forward slashes)."""
    masks = _mask_folders(names)
    if masks:
        return masks
    candidates = [_Candidate.of(name) for name in [*_volumes(names), *_dicom_folders(names)]]
    images: dict[str, list[_Candidate]] = defaultdict(list)
    labels: dict[str, list[_Candidate]] = defaultdict(list)
    neutral = []
    for candidate in candidates:
        if candidate.role is None:
            neutral.append(candidate)
        else:
            (images if candidate.role == "image" else labels)[candidate.key].append(candidate)
    without_image = set(labels) - set(images)  # as the names say: two files of one neutral name are no pair
    for candidate in neutral:  # X beside X_0000 or a DICOM folder X is its labels; X beside X_seg is its image
        (images if candidate.key in without_image else labels)[candidate.key].append(candidate)
    return _paired(set(names), images, labels)


@dataclass(frozen=True)
class _Candidate:
    name: str
    role: Role | None
    key: str

    @classmethod
    def of(cls, name: str) -> _Candidate:
        path = PurePosixPath(name)
        folders = [part.lower() for part in path.parent.parts]
        role: Role | None = None
        if any(folder in LABEL_FOLDERS for folder in folders):
            role = "labels"
        elif any(folder in IMAGE_FOLDERS for folder in folders):
            role = "image"
        stem = case_name(path.name)
        plain = PLAIN.get(stem.lower())
        if plain and path.parent.name:
            return cls(name, plain, path.parent.name)
        key = re.sub(_HEAD, "", re.sub(_TAIL, "", stem))
        if role is None and name.endswith("/"):
            role = "image"
        if role is None and path.name.startswith(f"{stem}_0000"):
            role = "image"
        for pattern in (_TAIL, _HEAD):
            if role is None and (match := pattern.search(stem)):
                role = "image" if match[1].lower() in ("ct", "image", "img", "scan", "volume") else "labels"
        return cls(name, role, key)


def _paired(names: set[str], images: dict[str, list[_Candidate]], labels: dict[str, list[_Candidate]]) -> Layout:
    cases, left_out = [], []
    maps_alone = not images
    for key in sorted({*images, *labels}):
        scan, truth = images.get(key, []), labels.get(key, [])
        if len(scan) > 1 or len(truth) > 1:
            found = ", ".join(candidate.name for candidate in (*scan, *truth))
            left_out.append((key, f"which files belong together is unclear: {found}; list them in a CSV"))
        elif not truth:
            left_out.append((scan[0].name, "no labels with this name"))
        elif not scan and not maps_alone and _sidecar(names, truth[0].name) is None:
            left_out.append((truth[0].name, "no image with this name"))
        else:
            image = scan[0].name if scan else None
            cases.append(CaseFiles(key, image, (truth[0].name,), _sidecar(names, truth[0].name)))
    return Layout(*_name_and_scheme(names, cases), tuple(cases), tuple(left_out))


def _name_and_scheme(names: set[str], cases: Sequence[CaseFiles]) -> tuple[str, str | None]:
    """The layout's name, and the label scheme that it implies."""
    stems = {case_name(name).lower() for case in cases for name in case.labels}
    if cases and all(case.image is None for case in cases):
        return "label maps without images", None
    if any(PurePosixPath(name).name == "dataset.json" for name in names):
        return "imagesTr/labelsTr with dataset.json", "dataset.json"
    if stems and all(re.match(r"amos_\d+$", stem) for stem in stems):
        return "AMOS", "amos"
    if stems == {"segmentation"}:
        return "a folder a case, imaging and segmentation", "kits"
    if stems and all(re.match(r"segmentation-\d+$", stem) for stem in stems):
        return "volume-N, segmentation-N", "msd-liver"
    if stems and all(re.match(r"label\d+$", stem) or stem.endswith("_avg_seg") for stem in stems):
        return "BTCV", "btcv"
    if stems and all(stem.endswith("_seg") for stem in stems):
        return "NAME and NAME_seg side by side", "abdoseg"
    return "images with labels of the same name", "flare22"


def _mask_folders(names: Sequence[str]) -> Layout | None:
    """sNNNN/ct.nii.gz with sNNNN/segmentations/ORGAN.nii.gz; without the ct they are label maps alone."""
    masks: dict[str, list[str]] = defaultdict(list)
    for name in names:
        path = PurePosixPath(name)
        if path.parent.name.lower() == "segmentations" and name.lower().endswith(SCANS):
            masks[path.parent.parent.as_posix()].append(name)
    if not masks:
        return None
    cases, left_out = [], []
    for folder, files in sorted(masks.items()):
        images = [f"{folder}/{stem}{suffix}" for stem in ("ct", "image") for suffix in SCANS]
        image = next((name for name in images if name in set(names)), None)
        cases.append(CaseFiles(PurePosixPath(folder).name, image, tuple(sorted(files))))
    for name in names:
        folder = PurePosixPath(name).parent.as_posix()
        if case_name(name) == "ct" and name.lower().endswith(SCANS) and folder not in masks:
            left_out.append((name, "no segmentations/ beside it"))
    return Layout("one mask an organ (TotalSegmentator)", ORGAN_NAMES, tuple(cases), tuple(left_out))


def _volumes(names: Iterable[str]) -> list[str]:
    """Files that may be images or labels; test folders have no labels and are left out."""
    return [
        name
        for name in names
        if name.lower().endswith(SCANS) or _is_label_object(name)
        if not any(part.lower() in UNLABELLED_FOLDERS for part in PurePosixPath(name).parts)
    ]


def _is_label_object(name: str) -> bool:
    """Whether a DICOM file stands for itself, a SEG or RTSTRUCT in a folder of labels, and is no slice of a series."""
    path = PurePosixPath(name)
    return path.suffix.lower() == ".dcm" and path.parent.name.lower() in LABEL_FOLDERS


def _dicom_folders(names: Iterable[str]) -> list[str]:
    """Folders, with a slash at their end, that hold DICOM files: .dcm, .ima, or at least five without a suffix."""
    sure: set[str] = set()
    bare: dict[str, int] = defaultdict(int)
    for name in names:
        path = PurePosixPath(name)
        if _is_label_object(name):
            continue
        if path.suffix.lower() in (".dcm", ".ima"):
            sure.add(path.parent.as_posix())
        elif not path.suffix and path.name.lower() not in ("readme", "license", "dicomdir"):
            bare[path.parent.as_posix()] += 1
    folders = sure | {folder for folder, count in bare.items() if count >= 5}
    return sorted(f"{folder}/" for folder in folders if folder != ".")


def _sidecar(names: set[str], labels: str) -> str | None:
    name = PurePosixPath(labels).with_name(f"{case_name(labels)}.json").as_posix()
    return name if name in names else None
