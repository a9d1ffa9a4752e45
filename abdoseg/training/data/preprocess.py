"""Preprocessing of a case: its files resampled to the network's grid as image, labels and tissue map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.errors import DatasetError, GeometryError, ScanError
from abdoseg.image.resample import resample_image, resample_labels
from abdoseg.image.volume import Array, Geometry, Labelmap, Stored
from abdoseg.io import read_labels, read_scan
from abdoseg.io.labels import mask_of, read_label_numbers
from abdoseg.model.plan import Plan
from abdoseg.training.augment.tissue_maps import tissue_map
from abdoseg.training.data.cache import Arrays, CaseArrays
from abdoseg.training.data.datasets import DatasetCase

TOLERANCE_MM = 0.5  # between the corners of an image and of its labels
MARGIN_MM = 40.0  # around a label map without an image, for the fat and the air around the patient
HU_RANGE = (-1024, 3071)
MAX_LABEL = 255  # of a label map without an image


def read_case(case: DatasetCase, plan: Plan, with_tissues: bool = False, realign: bool = False) -> CaseArrays:
    """A case's arrays on the plan's grid: image, labels in our numbers, tissues.

    Args:
        case: from `read_dataset`.
        plan: of the network.
        with_tissues: add a tissue map for synthesis; a case without an image always has one.
        realign: resample labels that lie on another grid than the image.

    Raises:
        ScanError: a file cannot be read, or holds no CT or no labels.
        GeometryError: image and labels lie on different grids.
        DatasetError: none of the masks is of a known organ.
    """
    if case.image is None:
        return _read_map(case, plan)
    with case.tree.opened(case.image) as path:
        volume = read_scan(path)
    labelmap = _read_labels(case, volume.stored)
    if not realign:
        check_grids(volume.geometry, labelmap.geometry)
    grid = plan.grid(volume.geometry)
    labels = resample_labels(labelmap.labels, labelmap.geometry, grid)
    image = np.clip(np.rint(resample_image(volume.voxels, volume.geometry, grid)), *HU_RANGE).astype(np.int16)
    arrays: Arrays = {"image": image, "labels": labels}
    if with_tissues:
        names = {BY_NAME[name].label: name for name in case.annotated}
        arrays["tissues"] = tissue_map(labels, names, grid.spacing_mm.tolist(), image)
    facts = _facts(labels, grid, volume.geometry, image, volume.notes) | {"unknown": list(labelmap.unknown)}
    return CaseArrays(arrays, _spacing(grid), facts)


def _read_map(case: DatasetCase, plan: Plan) -> CaseArrays:
    """A label map without an image: its labels with a margin around them, and its tissue map."""
    raw, geometry = read_numbers(case)
    spare = [int(np.ceil(MARGIN_MM / s)) for s in geometry.spacing_mm[:2]] + [0]
    wide = geometry.cropped([-n for n in spare], [size + n for size, n in zip(geometry.shape, spare, strict=True)])
    grid = plan.grid(wide)
    raw = resample_labels(raw, geometry, grid)
    raw[_beyond(geometry, grid)] = 0
    tissues = tissue_map(raw, case.scheme, grid.spacing_mm.tolist())
    table = np.zeros(MAX_LABEL + 1, np.uint8)
    for number, name in case.scheme.items():
        if name in BY_NAME and number <= MAX_LABEL:
            table[number] = BY_NAME[name].label
    labels = table[raw]
    return CaseArrays({"labels": labels, "tissues": tissues}, _spacing(grid), _facts(labels, grid, geometry, None, ()))


def _beyond(geometry: Geometry, grid: Geometry) -> Array:
    """(I, J, K) bool: voxels of a parallel `grid` whose centres lie outside the voxels of `geometry`."""
    mapping = np.linalg.inv(geometry.affine) @ grid.affine
    sides = []
    for axis, (size, count) in enumerate(zip(geometry.shape, grid.shape, strict=True)):
        at = mapping[axis, 3] + mapping[axis, axis] * np.arange(count)
        sides.append(((at < -0.5) | (at > size - 0.5)).reshape([-1 if a == axis else 1 for a in range(3)]))
    return np.asarray(sides[0] | sides[1] | sides[2])


def check_grids(image: Geometry, labels: Geometry) -> None:
    """Checks that labels lie on their image's grid.

    Raises:
        GeometryError: they don't; the message has both grids.
    """
    if image.matches(labels, TOLERANCE_MM):
        return
    facts = [
        f"{' x '.join(map(str, g.shape))} voxels of {' x '.join(f'{s:.4g}' for s in g.spacing_mm)} mm from "
        f"({', '.join(f'{x:.1f}' for x in g.affine[:3, 3])})"
        for g in (image, labels)
    ]
    apart = image.distance_mm(labels)
    off = f", corners up to {apart:.1f} mm apart" if np.isfinite(apart) else ""
    raise GeometryError(
        f"image and labels lie on different grids: the image {facts[0]}, the labels {facts[1]}{off}; "
        "export the labels on the image's grid, or pass --resample-labels if they are right in space"
    )


def _read_labels(case: DatasetCase, grid: Stored) -> Labelmap:
    """The labels of a case; a DICOM SEG or RTSTRUCT is drawn on the image's grid, where it fits that."""
    if len(case.labels) == 1:
        with case.tree.opened(case.labels[0]) as path:
            return read_labels(path, case.scheme, warn=False, grid=grid, structures=case.structures)
    merged: Labelmap | None = None
    for number, name in enumerate(case.labels, start=1):
        organ = case.scheme[number]
        if organ not in BY_NAME:
            continue
        with case.tree.opened(name) as path:
            mask = read_labels(path, mask_of(organ))
        if merged is None:
            merged = mask
        else:
            check_grids(merged.geometry, mask.geometry)
            merged = replace(merged, labels=np.maximum(merged.labels, mask.labels))
    if merged is None:
        raise DatasetError(f"none of the {len(case.labels)} masks is of an organ known here; are they named by organ?")
    return merged


def read_numbers(case: DatasetCase) -> tuple[Array, Geometry]:
    """The labels with the dataset's own numbers, in canonical axes; of masks, the number of the file."""
    numbers: Array | None = None
    for number, name in enumerate(case.labels, start=1):
        with case.tree.opened(name) as path:
            values, stored = read_label_numbers(path)
        array, geometry = stored.to_canonical(values), stored.canonical()
        if len(case.labels) == 1:
            if array.max() > MAX_LABEL:
                raise ScanError(f"{name}: label {array.max()}, where maps without an image have at most {MAX_LABEL}")
            return array.astype(np.uint8, copy=False), geometry
        numbers = np.zeros(array.shape, np.uint8) if numbers is None else numbers
        numbers[array > 0] = number
    assert numbers is not None
    return numbers, geometry


def _spacing(grid: Geometry) -> tuple[float, float, float]:
    i, j, k = (round(float(s), 6) for s in grid.spacing_mm)
    return i, j, k


def _facts(
    labels: Array, grid: Geometry, stored: Geometry, image: Array | None, notes: Sequence[str]
) -> dict[str, object]:
    """Spacing and shape of the file, organ volumes, the central 99 percent of HU, and median HU of the organs."""
    names = {organ.label: organ.name for organ in BY_NAME.values()}
    counts = np.bincount(labels.ravel(), minlength=256)
    present = [label for label in names if counts[label]]
    facts: dict[str, object] = {
        "spacing_mm": [round(float(s), 4) for s in stored.spacing_mm],
        "shape": list(stored.shape),
        "organ_ml": {names[label]: round(float(counts[label]) * grid.voxel_ml, 1) for label in present},
        "notes": list(notes),
    }
    if image is not None:
        facts["hu"] = [float(np.round(p)) for p in np.percentile(image[::2, ::2, ::2], (0.5, 99.5))]
        facts["organ_hu"] = {names[label]: float(np.median(image[labels == label])) for label in present}
    return facts
