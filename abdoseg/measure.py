"""How large each organ is, how dense, and whether the scan's border cuts it: the rows of every volumes CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from abdoseg.errors import GeometryError
from abdoseg.volume import FACES, Array, Labelmap, labels_in

COLUMNS = ("organ", "label", "voxels", "volume_ml", "mean_hu", "sd_hu", "complete", "touches")


@dataclass(frozen=True)
class OrganVolume:
    """One organ's row.

    mean_hu, sd_hu: None without a scan or without voxels. touches: the scan's faces that the organ reaches.
    """

    organ: str
    label: int
    voxels: int
    volume_ml: float
    mean_hu: float | None
    sd_hu: float | None
    touches: tuple[str, ...]

    @property
    def complete(self) -> bool | None:
        """Whether the whole organ is in the scan, as far as its border tells; None for an organ not found."""
        return None if self.voxels == 0 else not self.touches


def measure(labelmap: Labelmap, voxels_hu: Array | None = None) -> list[OrganVolume]:
    """One row for every organ that was looked for, found or not, in organ order.

    voxels_hu: (I, J, K) on the labelmap's grid. The volume is what was measured even where the border cuts the organ.
    """
    if voxels_hu is not None and voxels_hu.shape != labelmap.labels.shape:
        raise GeometryError(
            f"a scan of shape {voxels_hu.shape} does not lie under labels of shape {labelmap.labels.shape}"
        )
    touches = _touches(labelmap.labels)
    found = _inside(labelmap.labels, voxels_hu)
    rows = []
    for label, organ in sorted(labelmap.organs.items()):
        count, mean, sd = found.get(label, (0, None, None))
        volume_ml = count * labelmap.geometry.voxel_ml
        rows.append(OrganVolume(organ, label, count, volume_ml, mean, sd, touches.get(label, ())))
    return rows


def write_csv(rows: Sequence[OrganVolume], path: Path, extra: Mapping[str, Mapping[str, object]] | None = None) -> None:
    """The rows as CSV at `path`. extra: further columns after ours, each a value by organ name."""
    extra = extra or {}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *extra])
        for row in rows:
            writer.writerow([*cells(row), *(cell(column.get(row.organ)) for column in extra.values())])


def cells(row: OrganVolume) -> list[str]:
    """A row's values in the order of COLUMNS."""
    values = (row.organ, row.label, row.voxels, row.volume_ml, row.mean_hu, row.sd_hu, row.complete)
    return [*(cell(value) for value in values), ";".join(row.touches)]


def cell(value: object) -> str:
    """A value as CSV text: six digits, `true` and `false`, nothing for None. A volume above 0 never reads as 0."""
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return str(value)


def boxes(labels: Array) -> dict[int, tuple[slice, slice, slice]]:
    """The bounding box of every label above 0 that is there. labels: (I, J, K), in any order of memory."""
    order = _memory_order(labels)
    found: dict[int, tuple[slice, slice, slice]] = {}
    for label, box in enumerate(ndimage.find_objects(labels.transpose(order)), start=1):
        if box is not None:
            i, j, k = (box[int(np.flatnonzero(order == axis)[0])] for axis in range(3))
            found[label] = (i, j, k)
    return found


def _memory_order(array: Array) -> npt.NDArray[np.intp]:
    """The axes from the slowest to the fastest: passes over an array are several times faster so."""
    return np.argsort([-abs(stride) for stride in array.strides], kind="stable")


def _inside(labels: Array, hu: Array | None) -> dict[int, tuple[int, float | None, float | None]]:
    """Voxels, mean HU and its standard deviation of each label that is there, each in its own bounding box."""
    order = _memory_order(labels)
    found: dict[int, tuple[int, float | None, float | None]] = {}
    for label, box in boxes(labels).items():
        mask = labels[box].transpose(order) == label
        count, mean, sd = int(np.count_nonzero(mask)), None, None
        if hu is not None:
            values = hu[box].transpose(order)[mask].astype(np.float64)
            mean, sd = float(values.mean()), float(values.std())
        found[label] = (count, mean, sd)
    return found


def _touches(labels: Array) -> dict[int, tuple[str, ...]]:
    """For each label on the grid's border, the names of the faces it reaches."""
    faces: dict[int, tuple[str, ...]] = {}
    for axis, names in enumerate(FACES):
        for name, end in zip(names, (0, -1), strict=True):
            for label in labels_in(np.moveaxis(labels, axis, 0)[end]):
                faces[label] = (*faces.get(label, ()), name)
    return faces
