"""Case report: one self-contained HTML page with volumes and flags, slices, the organs in 3-D and the run's record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from abdoseg import __version__
from abdoseg.anatomy.organs import BY_NAME
from abdoseg.exporters.job import Job
from abdoseg.image.volumetry import OrganVolume
from abdoseg.rendering import preview
from abdoseg.rendering.captions import volume_text
from abdoseg.rendering.html import Cell, facts, figure, note, page, section, swatch, table
from abdoseg.rendering.slices import colour_of, title_of
from abdoseg.rendering.viewer import ViewerOrgan, script, viewer

NOT_SHOWN = {
    "case",
    "scan",
    "warnings",
    "quality",
    "changes",
    "removed",
    "input.affine",
    "input.notes",
}  # elsewhere, or not for people


def write(job: Job, target: Path) -> None:
    """Nothing is fetched from anywhere; nothing of the patient but the pictures is in it."""
    body = "\n".join(part for part in (_volumes(job), _slices(job), _solids(job), _record(job.record)) if part)
    whose = ", segmented by abdoseg" if job.record else ""
    words = page(
        job.case,
        body,
        lead=f"Organs of the abdomen{whose}. For research; not a medical device.",
        foot=f"abdoseg {__version__}",
        script=script(),
    )
    target.write_text(words, encoding="utf-8")


def warnings(job: Job) -> list[str]:
    """What a reader should know before using the numbers: as the run recorded it, or as the labels alone tell."""
    if "warnings" in job.record:
        return [str(text) for text in job.record["warnings"]]
    said = [f"{title_of(row.organ)}: not found" for row in job.rows if not row.voxels]
    for row in job.found:
        if row.touches:
            said.append(
                f"{title_of(row.organ)}: reaches the scan's {', '.join(row.touches)} border; "
                "its volume is a lower bound"
            )
    return said


def _volumes(job: Job) -> str:
    shown = facts([(title_of(row.organ), volume_text(row.volume_ml)) for row in job.found])
    quality = job.record.get("quality", {})
    measured = job.scan is not None
    headers = ["organ", "volume (ml)", *(("mean (HU)", "SD (HU)") if measured else ()), "voxels", "complete"]
    rows = [_row(row, measured) for row in job.rows]
    if quality:
        headers += ["confidence", "to look at"]
        rows = [[*cells, *_quality(quality.get(row.organ, {}))] for cells, row in zip(rows, job.rows, strict=True)]
    notes = "".join(map(note, warnings(job)))
    return section("Volumes", shown + notes + table(headers, rows, sortable=True))


def _row(row: OrganVolume, measured: bool) -> list[Cell | str | float | int | None]:
    name = Cell(title_of(row.organ), html=swatch(colour_of(row.organ, row.label)) + escape(title_of(row.organ)))
    if row.complete is None:
        complete = Cell("not found", tone="warn")
    else:
        complete = Cell("yes", tone="good") if row.complete else Cell(f"cut: {', '.join(row.touches)}", tone="warn")
    values = (row.mean_hu, row.sd_hu) if measured else ()
    hu = [None if value is None else Cell(f"{value:.1f}", value) for value in values]
    return [name, Cell(f"{row.volume_ml:.1f}", row.volume_ml), *hu, row.voxels, complete]


def _quality(found: Mapping[str, Any]) -> list[Cell | str | float | int | None]:
    confidence, reasons = found.get("confidence"), found.get("reasons") or ()
    shown = None if confidence is None else Cell(f"{confidence:.2f}", confidence)
    return [shown, Cell(", ".join(reasons).replace("_", " ") or "nothing", tone="warn" if reasons else "soft")]


def _slices(job: Job) -> str:
    picture = np.asarray(preview(job.scan, job.labelmap, job.truth, job.options.slice_style, job.rows))
    words = "Slices at equal steps through the organs; the patient's right is on the left."
    return section("Slices", figure(picture, "Slices in three planes with the organs outlined"), text=words)


def _solids(job: Job) -> str:
    shown = []
    for row in job.found:
        inner = row.organ in BY_NAME and BY_NAME[row.organ].is_lesion
        shown.append(ViewerOrgan(row.organ, job.surfaces[row.organ], colour_of(row.organ, row.label), inner))
    if not shown:
        return ""
    words = "Drag or use the arrow keys to turn, control and wheel or + and - to come closer, double-click to go back."
    return section("In three dimensions", viewer(shown), text=words)


def _record(record: Mapping[str, Any]) -> str:
    rows = [[name.replace("_", " ").replace(".", ": "), value] for name, value in _flat(record)]
    changes = "".join(f"<li>{escape(str(line))}</li>" for line in record.get("changes", ()))
    changed = f"<h3>What post-processing changed</h3><ul>{changes}</ul>" if changes else ""
    return section("How it was made", table(["what", "value"], rows) + changed) if rows else ""


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every scalar and list of a nested record with its dotted name."""
    for key, item in value.items():
        name = f"{prefix}{key}"
        if name in NOT_SHOWN:
            continue
        if isinstance(item, Mapping):
            yield from _flat(item, f"{name}.")
        elif isinstance(item, list | tuple):
            yield name, ", ".join(f"{part:.6g}" if isinstance(part, float) else str(part) for part in item)
        elif name.endswith("_bytes"):
            yield name.removesuffix("_bytes"), f"{item / 2**30:.2f} GB"
        else:
            yield name, f"{item:.6g}" if isinstance(item, float) else str(item)
