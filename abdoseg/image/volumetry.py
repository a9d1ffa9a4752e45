"""Volumetry of organs: voxels, millilitres, mean HU, and whether the scan's border cuts them; the volumes CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from abdoseg.anatomy.organs import BY_NAME, host_of
from abdoseg.errors import GeometryError
from abdoseg.image.components import Box, box_of, moved
from abdoseg.image.volume import FACES, Array, Labelmap, memory_order
from abdoseg.runtime.files import write_csv
from abdoseg.runtime.threads import on_all_cores

NOWHERE = slice(0, 0), slice(0, 0), slice(0, 0)
PLANES = 8  # measured at a time: as many as a core's cache holds
COLUMNS = (
    "organ",
    "label",
    "voxels",
    "volume_ml",
    "mean_hu",
    "sd_hu",
    "complete",
    "touches",
    "with_lesions_ml",
    "burden_percent",
)


@dataclass(frozen=True)
class OrganVolume:
    """One organ's row.

    mean_hu, sd_hu: None without a scan or without voxels. touches: the scan's faces that the organ reaches.
    with_lesions_ml: of the organ and the lesions in it, where those were looked for apart; volume_ml is then the organ
    without them. burden_percent: what part of that the lesions are. Both None for lesions and for other organs.
    """

    organ: str
    label: int
    voxels: int
    volume_ml: float
    mean_hu: float | None
    sd_hu: float | None
    touches: tuple[str, ...]
    with_lesions_ml: float | None = None
    burden_percent: float | None = None

    @property
    def complete(self) -> bool | None:
        """Whether the whole organ is in the scan, as far as its border tells; None for an organ not found."""
        return None if self.voxels == 0 else not self.touches


def measure(
    labelmap: Labelmap, voxels_hu: Array | None = None, within: Mapping[int, Box] | None = None
) -> list[OrganVolume]:
    """One row for every organ that was looked for, found or not, in organ order.

    The volume is what was measured even where the border cuts the organ.

    Args:
        labelmap: the organs.
        voxels_hu: (I, J, K) on the labelmap's grid.
        within: for each label that is there, a box that holds all of it; found here if not given.

    Raises:
        GeometryError: the scan and the labels have different shapes.
    """
    if voxels_hu is not None and voxels_hu.shape != labelmap.labels.shape:
        raise GeometryError(
            f"a scan of shape {voxels_hu.shape} does not lie under labels of shape {labelmap.labels.shape}"
        )
    within = boxes(labelmap.labels) if within is None else within
    rows = []
    for label, organ in sorted(labelmap.organs.items()):
        box = within.get(label, NOWHERE)
        count, mean, sd = _inside(labelmap.labels, voxels_hu, label, box)
        touches = _touches(labelmap.labels, label, box)
        rows.append(OrganVolume(organ, label, count, count * labelmap.geometry.voxel_ml, mean, sd, touches))
    return [_with_lesions(row, rows) for row in rows]


def write_volumes(
    rows: Sequence[OrganVolume], path: Path, extra: Mapping[str, Mapping[str, object]] | None = None
) -> None:
    """The rows as CSV at `path`. extra: further columns after ours, each a value by organ name."""
    extra = extra or {}
    texts = ([*cells(row), *(cell(column.get(row.organ)) for column in extra.values())] for row in rows)
    write_csv(path, [*COLUMNS, *extra], texts)


def read_volumes(path: Path) -> list[OrganVolume]:
    """The rows that `write_volumes` wrote; empty where the file is gone or another's."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_from_cells(row) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _from_cells(row: Mapping[str, str]) -> OrganVolume:
    optional = ("mean_hu", "sd_hu", "with_lesions_ml", "burden_percent")
    mean, sd, with_lesions, burden = (float(row[name]) if row.get(name) else None for name in optional)
    touches = tuple(filter(None, (row.get("touches") or "").split(";")))
    whole = row["organ"], int(row["label"]), int(row["voxels"]), float(row["volume_ml"])
    return OrganVolume(*whole, mean, sd, touches, with_lesions, burden)


def cells(row: OrganVolume) -> list[str]:
    """A row's values in the order of COLUMNS."""
    values = (row.organ, row.label, row.voxels, row.volume_ml, row.mean_hu, row.sd_hu, row.complete)
    lesions = cell(row.with_lesions_ml), cell(row.burden_percent)
    return [*(cell(value) for value in values), ";".join(row.touches), *lesions]


def cell(value: object) -> str:
    """A value as CSV text: six digits, `true` and `false`, nothing for None. A volume above 0 never reads as 0."""
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return str(value)


def boxes(labels: Array) -> dict[int, Box]:
    """The bounding box of every label above 0 that is there. labels: (I, J, K) uint8, in any order of memory."""
    from scipy import ndimage

    order = memory_order(labels)
    forward = _forward(labels)
    planes = labels[forward].transpose(order)
    foreground = box_of(planes.view(np.bool_))  # found three times faster than each label's own
    found: dict[int, Box] = {}
    if foreground is None:
        return found
    for label, box in enumerate(ndimage.find_objects(planes[foreground]), start=1):
        if box is not None:
            parts = dict(zip(order.tolist(), moved(box, foreground), strict=True))
            i, j, k = (_turned(parts[axis], forward[axis], labels.shape[axis]) for axis in range(3))
            found[label] = (i, j, k)
    return found


def _with_lesions(row: OrganVolume, rows: Sequence[OrganVolume]) -> OrganVolume:
    """The row of an organ with the volume of the lesions in it, if they are among the rows; others as they are."""
    lesions = [
        other.volume_ml for other in rows if BY_NAME[other.organ].is_lesion and host_of(other.organ) == row.organ
    ]
    if not lesions:
        return row
    whole = row.volume_ml + sum(lesions)
    return replace(row, with_lesions_ml=whole, burden_percent=100 * sum(lesions) / whole if whole else None)


def _forward(array: Array) -> Box:
    """Steps that turn axes that run backwards in memory: passes over those take twice the time."""
    i, j, k = (slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)
    return i, j, k


def _turned(part: slice, step: slice, length: int) -> slice:
    """A part of an axis as a part of the axis turned by `step`."""
    return part if step.step > 0 else slice(length - part.stop, length - part.start)


def _inside(labels: Array, hu: Array | None, label: int, box: Box) -> tuple[int, float | None, float | None]:
    """Voxels of a label in a box, their mean HU and its standard deviation."""
    order, forward = memory_order(labels), _forward(labels)
    planes = labels[box][forward].transpose(order)
    over = None if hu is None else hu[box][forward].transpose(order)
    sums = np.zeros((-(-len(planes) // PLANES), 3))  # of 1, HU and HU squared: of whole HU exact, in whatever order

    def stack(n: int) -> None:
        some = slice(n * PLANES, (n + 1) * PLANES)
        mask = planes[some] == label
        values = np.zeros(0) if over is None else over[some][mask].astype(np.float64)
        sums[n] = np.count_nonzero(mask), values.sum(), np.square(values).sum()

    on_all_cores(stack, len(sums))
    count, total, squares = sums.sum(axis=0).tolist()
    if hu is None or count == 0:
        return int(count), None, None
    mean = total / count
    return int(count), mean, math.sqrt(max(0.0, squares / count - mean**2))


def _touches(labels: Array, label: int, box: Box) -> tuple[str, ...]:
    """The names of the grid's faces that a label in a box reaches."""
    inside, faces = labels[box], []
    for axis, (low, high) in enumerate(FACES):
        for name, end, near in ((low, 0, box[axis].start == 0), (high, -1, box[axis].stop == labels.shape[axis])):
            if near and inside.size and (inside.take(end, axis) == label).any():
                faces.append(name)
    return tuple(faces)
