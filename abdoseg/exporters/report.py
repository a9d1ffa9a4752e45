"""One self-contained page a case: volumes with flags, slices, organs that turn under the mouse, how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from abdoseg import __version__
from abdoseg.anatomy import BY_NAME
from abdoseg.exporters.job import Job
from abdoseg.exporters.viewer import Shown, script, viewer
from abdoseg.measure import OrganVolume
from abdoseg.page import Cell, facts, figure, note, page, section, swatch, table
from abdoseg.preview import preview
from abdoseg.preview.captions import volume_text
from abdoseg.preview.slices import colour_of, title_of

NOT_SHOWN = {"warnings", "notes", "organs", "volumes", "rows", "outputs"}  # shown elsewhere, or not for people


def write(job: Job, target: Path) -> None:
    """Nothing is fetched from anywhere; nothing of the patient but the pictures is in it."""
    body = "\n".join(part for part in (_volumes(job), _slices(job), _solids(job), _record(job.record)) if part)
    words = page(
        job.case,
        body,
        lead="Organs of the abdomen, segmented by abdoseg. For research; not a medical device.",
        foot=f"abdoseg {__version__}",
        script=script(),
    )
    target.write_text(words, encoding="utf-8")


def warnings(job: Job) -> list[str]:
    """What a reader should know before using the numbers."""
    said = []
    for row in job.rows:
        if not row.voxels:
            said.append(f"{title_of(row.organ)}: not found.")
        elif row.touches:
            faces = " and ".join(row.touches)
            said.append(
                f"{title_of(row.organ)}: cut by the {faces} border of the scan; its volume is that of the part inside."
            )
    return [*said, *(str(text) for text in job.record.get("warnings") or ())]


def _volumes(job: Job) -> str:
    shown = facts([(title_of(row.organ), volume_text(row.volume_ml)) for row in job.found])
    headers = ["organ", "volume (ml)", "mean (HU)", "SD (HU)", "voxels", "complete"]
    return section(
        "Volumes",
        shown + "".join(map(note, warnings(job))) + table(headers, [_row(row) for row in job.rows], sortable=True),
    )


def _row(row: OrganVolume) -> Sequence[Cell | str | float | int | None]:
    name = Cell(title_of(row.organ), html=swatch(colour_of(row.organ, row.label)) + escape(title_of(row.organ)))
    if row.complete is None:
        complete = Cell("not found", tone="warn")
    else:
        complete = Cell("yes", tone="good") if row.complete else Cell(f"cut: {', '.join(row.touches)}", tone="warn")
    hu = [None if value is None else Cell(f"{value:.1f}", value) for value in (row.mean_hu, row.sd_hu)]
    return [name, Cell(f"{row.volume_ml:.1f}", row.volume_ml), *hu, row.voxels, complete]


def _slices(job: Job) -> str:
    picture = np.asarray(preview(job.scan, job.labelmap, job.truth, job.options.look))
    words = "Slices at equal steps through the organs; the patient's right is on the left."
    return section("Slices", figure(picture, "Slices in three planes with the organs outlined"), text=words)


def _solids(job: Job) -> str:
    shown = []
    for row in job.found:
        surface = job.surface(row.organ)
        if surface is not None:
            inner = row.organ in BY_NAME and BY_NAME[row.organ].is_lesion
            shown.append(Shown(row.organ, surface, colour_of(row.organ, row.label), inner))
    if not shown:
        return ""
    words = "Drag or use the arrow keys to turn, control and wheel or + and - to come closer, double-click to go back."
    return section("In three dimensions", viewer(shown), text=words)


def _record(record: Mapping[str, Any]) -> str:
    rows = [[name, value] for name, value in _flat(record) if name.split(".")[0] not in NOT_SHOWN]
    return section("How it was made", table(["", ""], rows)) if rows else ""


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every scalar of a nested record with its dotted name."""
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from _flat(item, f"{name}.")
        elif isinstance(item, list | tuple):
            yield name, "; ".join(f"{part:.6g}" if isinstance(part, float) else str(part) for part in item)
        else:
            yield name, f"{item:.6g}" if isinstance(item, float) else str(item)
