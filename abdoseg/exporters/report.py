"""Case report: one self-contained HTML page with volumes and flags, slices, the organs in 3-D and the run's record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from abdoseg import __version__
from abdoseg.anatomy.organs import BY_NAME, title_of
from abdoseg.exporters.job import Job
from abdoseg.image.lesions import Lesion
from abdoseg.image.volumetry import OrganVolume
from abdoseg.rendering import preview
from abdoseg.rendering.captions import volume_text
from abdoseg.rendering.html import Cell, Table, Value, render_page
from abdoseg.rendering.slice_viewer import pack_slices
from abdoseg.rendering.slices import colour_of
from abdoseg.rendering.viewer import ViewerOrgan, ViewerScene, viewer_scene

NOT_SHOWN = {
    "case",
    "scan",
    "member",
    "reading",
    "warnings",
    "quality",
    "changes",
    "removed",
    "input.affine",
    "input.notes",
    "input.series_digest",
    "lesions",
}  # elsewhere, or not for people


def write(job: Job, target: Path) -> None:
    """Nothing is fetched from anywhere; nothing of the patient but the pictures is in it."""
    lesions = job.lesions or ()
    whose = ", segmented by abdoseg" if job.record else ""
    words = render_page(
        "case_report.html",
        job.case,
        lead=f"Organs of the abdomen{whose}. For research; not a medical device.",
        foot=f"abdoseg {__version__}",
        volumes=[(title_of(row.organ), volume_text(row.volume_ml)) for row in job.found],
        warnings=warnings(job),
        volume_table=_volume_table(job),
        sheet=np.asarray(preview(job.scan, job.labelmap, job.truth, job.options.slice_style, job.rows)),
        lesion_table=_lesion_table(lesions),
        lesion_numbers=[lesion.number for lesion in lesions],
        slices=_slices(job),
        organs=[
            {"organ": row.organ, "title": title_of(row.organ), "colour": colour_of(row.organ, row.label)}
            for row in job.found
        ],
        scene=_scene(job),
        record=[[name.replace("_", " ").replace(".", ": "), value] for name, value in _flat(job.record)],
        changes=[str(line) for line in job.record.get("changes", ())],
    )
    target.write_text(words, encoding="utf-8")


def warnings(job: Job) -> list[str]:
    """What a reader should know before using the numbers: as the run recorded it, or as the labels alone tell."""
    if "warnings" in job.record:
        return [str(text) for text in job.record["warnings"]]
    sentences = [f"{title_of(row.organ)}: not found" for row in job.rows if not row.voxels]
    for row in job.found:
        if row.touches:
            sentences.append(
                f"{title_of(row.organ)}: reaches the scan's {', '.join(row.touches)} border; "
                "its volume is a lower bound"
            )
    return sentences


def _volume_table(job: Job) -> Table:
    headers = ["organ", "volume (ml)", "with lesions (ml)", "burden (%)", "mean (HU)", "SD (HU)", "voxels", "complete"]
    rows = [_row(row) for row in job.rows]
    if quality := job.record.get("quality", {}):
        headers += ["confidence", "to look at"]
        rows = [[*cells, *_quality(quality.get(row.organ, {}))] for cells, row in zip(rows, job.rows, strict=True)]
    return _without_empty_columns(headers, rows)


def _row(row: OrganVolume) -> list[Value]:
    name = Cell(title_of(row.organ), colour=colour_of(row.organ, row.label))
    if row.complete is None:
        complete = Cell("not found", tone="warn")
    else:
        complete = Cell("yes", tone="good") if row.complete else Cell(f"cut: {', '.join(row.touches)}", tone="warn")
    numbers = (row.volume_ml, row.with_lesions_ml, row.burden_percent, row.mean_hu, row.sd_hu)
    return [name, *map(_tenth, numbers), row.voxels, complete]


def _quality(found: Mapping[str, Any]) -> list[Value]:
    reasons = found.get("reasons") or ()
    shown = Cell(", ".join(reasons).replace("_", " ") or "nothing", tone="warn" if reasons else "soft")
    return [_hundredth(found.get("confidence")), shown]


def _lesion_table(lesions: Sequence[Lesion]) -> Table | None:
    """None when there is no lesion."""
    headers = ["lesion", "ml", "longest", "across", "in 3-D", "slice", "centre R, A, S", "HU", "contrast",
               "to surface", "probability"]  # fmt: skip
    rows: list[list[Value]] = [
        [
            str(lesion.number),
            Cell(f"{lesion.volume_ml:.3g}", lesion.volume_ml),
            *map(_tenth, (lesion.longest_axial_mm, lesion.perpendicular_mm, lesion.longest_3d_mm)),
            lesion.slice_number,
            ", ".join(f"{value:.0f}" for value in lesion.centre_mm),
            *map(_tenth, (lesion.mean_hu, lesion.contrast_hu, lesion.surface_distance_mm)),
            _hundredth(lesion.mean_probability),
        ]
        for lesion in lesions
    ]
    return _without_empty_columns(headers, rows) if rows else None


def _without_empty_columns(headers: list[str], rows: list[list[Value]]) -> Table:
    """The table without columns in which nothing was measured."""
    kept = [n for n in range(len(headers)) if any(row[n] is not None for row in rows)]
    return [headers[n] for n in kept], [[row[n] for n in kept] for row in rows]


def _tenth(value: float | None) -> Cell | None:
    return None if value is None else Cell(f"{value:.1f}", value)


def _hundredth(value: float | None) -> Cell | None:
    return None if value is None else Cell(f"{value:.2f}", value)


def _slices(job: Job) -> dict[str, Any] | None:
    """The slices to scroll through; None when there is nothing to see."""
    if job.scan is None and not job.found:
        return None
    return pack_slices(job.labelmap, job.scan, job.truth, job.found, job.options.slice_style, job.lesions or ())


def _scene(job: Job) -> ViewerScene | None:
    """The organs in 3-D; None when there is none."""
    shown = []
    for row in job.found:
        inner = row.organ in BY_NAME and BY_NAME[row.organ].is_lesion
        shown.append(ViewerOrgan(row.organ, job.surfaces[row.organ], colour_of(row.organ, row.label), inner))
    return viewer_scene(shown) if shown else None


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
