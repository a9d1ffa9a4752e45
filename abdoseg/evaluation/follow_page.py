"""HTML page of two time points: volumes and lesions side by side, and slices of both scans at each lesion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from abdoseg.anatomy.organs import BY_NAME, LESION
from abdoseg.evaluation.changes import MEASURABLE_MM, STATUS, Change, FollowUp, LesionChange
from abdoseg.evaluation.follow import ORGAN, REACH_MM, TimePoint
from abdoseg.image.lesions import Lesion, slice_number
from abdoseg.image.registration import in_view, moved_points
from abdoseg.image.volume import Affine, Array, Labelmap
from abdoseg.rendering.captions import DIM, GROUND, INK, annotate, font, write
from abdoseg.rendering.html import Cell, Table, Value, render_page
from abdoseg.rendering.slices import (
    RGB,
    WINDOWS,
    SliceStyle,
    View,
    colour_of,
    draw_slice,
    fit_view,
    lesion_places,
    organ_box,
)

PANEL_PX = (340, 430)
MARGIN_MM = 12.0  # of body around the liver
GAP_PX = 6
RING_MM = 5.0  # beyond the other scan's lesion, where there is none
SHOWN = 20  # lesions at most that have a picture
STYLE = SliceStyle(window_hu=WINDOWS["liver"], overlay="contour", line_px=1.4)
TONES = {"new": "bad", "vanished": "good", "matched": ""}


@dataclass(frozen=True, eq=False)
class CaseSection:
    """One patient on the page. pictures: each with what it shows and a caption; none where a scan is not at hand."""

    found: FollowUp
    facts: list[tuple[str, str]]
    volumes: Table
    lesions: Table
    registration: str
    diameters: str
    pictures: list[tuple[RGB, str, str]]


@dataclass(frozen=True, eq=False)
class _Panel:
    """One scan's axial slices through its liver.

    labelmap: whose organs are the liver and its lesions alone. from_other: (4, 4) RAS mm of the other scan to its own.
    """

    when: str
    voxels: Array
    labelmap: Labelmap
    view: View
    lesions: Sequence[Lesion]
    from_other: Affine


def follow_page(sections: Sequence[CaseSection]) -> str:
    """The whole page, one section a patient."""
    return render_page(
        "follow.html",
        "Two time points",
        lead="Volumes and liver lesions, before and after. For research; not a medical device.",
        foot="Made by abdoseg follow.",
        sections=sections,
        cases=cases_table([one.found for one in sections]) if len(sections) > 1 else None,
        shown=SHOWN,
        reach_mm=REACH_MM,
        measurable_mm=MEASURABLE_MM,
        glossary=[(status.replace("_", " "), meaning) for status, meaning in STATUS.items()],
    )


def case_section(found: FollowUp, before: TimePoint, after: TimePoint) -> CaseSection:
    """A patient's tables, and pictures where both scans are at hand."""
    whole, diameters = found.volumes[0], found.diameters_mm
    facts = [(whole.title, f"{_number(whole.change.before)} → {_number(whole.change.after)}")]
    if found.compared:
        statuses = dict.fromkeys(["matched", "new", "vanished", *(lesion.status for lesion in found.lesions)])
        facts += [(name.replace("_", " "), str(found.count(name))) for name in statuses if found.lesions]
    if diameters.difference is not None:
        facts.append(("sum of longest diameters", f"{_percent(diameters.percent)} %"))
    tables, texts = (volume_table(found), lesion_table(found)), (registration_text(found), diameters_text(found))
    return CaseSection(found, facts, *tables, *texts, _pictures(found, before, after))


def cases_table(cases: Sequence[FollowUp]) -> Table:
    """Several patients, a row each: the liver, its lesions, and the sum of their longest diameters."""
    rows: list[list[Value]] = []
    for found in cases:
        liver, diameters = found.volumes[0], found.diameters_mm
        why = "" if found.compared else "not matched"
        if found.unsearched:
            why = f"not looked for {' and '.join(found.unsearched)}"
        counts = (
            None if "before" in found.unsearched else sum(len(one.before) for one in found.lesions),
            None if "after" in found.unsearched else sum(len(one.after) for one in found.lesions),
            *((None, None) if why else (found.count("new"), found.count("vanished"))),
        )
        lesions = [None if count is None else Cell(str(count), count) for count in counts]
        note = Cell(f"lesions {why}", tone="warn") if why else None
        changes = _cells(liver.change, liver.percent), lesions, _cells(diameters, diameters.percent)
        rows.append([found.case, *(value for part in changes for value in part), note])
    headers = [
        "case", f"{cases[0].volumes[0].title}, before", "after", "difference", "%", "lesions before", "after", "new",
        "vanished", "longest, mm, before", "after", "difference", "%", "note",
    ]  # fmt: skip
    return (headers, rows) if any(row[-1] for row in rows) else (headers[:-1], [row[:-1] for row in rows])


def volume_table(found: FollowUp) -> Table:
    """Organs' volumes at both times, a row each; one that a scan cuts is marked."""
    rows: list[list[Value]] = []
    for change in found.volumes:
        organ = change.quantity.removesuffix("_with_lesions")
        swatch = colour_of(organ, BY_NAME[organ].label) if organ in BY_NAME else None
        cut = Cell(f"cut {' and '.join(change.cut)}", tone="warn") if change.cut else None
        rows.append([Cell(change.title, colour=swatch), *_cells(change.change, change.percent), cut])
    headers = ["organ", "before", "after", "difference", "%", "whole"]
    return (headers, rows) if any(row[-1] for row in rows) else (headers[:-1], [row[:-1] for row in rows])


def lesion_table(found: FollowUp) -> Table:
    """What became of the lesions, a row each."""
    headers = ["lesion", "status", "ml before", "after", "difference", "%",
               "longest, mm, before", "after", "difference", "%", "slice before", "after"]  # fmt: skip
    rows: list[list[Value]] = []
    for lesion in found.lesions:
        status = Cell(lesion.status.replace("_", " "), tone=TONES.get(lesion.status, "warn"))
        slices = [", ".join(str(one.slice_number) for one in side) for side in (lesion.before, lesion.after)]
        volume, diameter = lesion.volume_ml, lesion.longest_axial_mm
        changes = [*_cells(volume, volume.percent), *_cells(diameter, diameter.percent)]
        rows.append([lesion.title, status, *changes, *slices])
    return headers, rows


def diameters_text(found: FollowUp) -> str:
    """The sum of the longest diameters in words; empty where there is none."""
    change = found.diameters_mm
    if change.difference is None:
        return ""
    return (
        f"Sum of the longest axial diameters of lesions of {MEASURABLE_MM:g} mm or more before: "
        f"{_number(change.before)} mm, after: {_number(change.after)} mm ({_percent(change.percent)} %). "
        "No response by RECIST is stated: a reader chooses target lesions."
    )


def registration_text(found: FollowUp) -> str:
    """How the livers lie upon each other, in words; empty where there was no lesion to match."""
    if (one := found.registration) is None:
        return ""
    return (
        f"Livers registered: Dice {one.dice:.2f}, moved by {one.shift_mm:.0f} mm, turned by "
        f"{one.rotation_degrees:.0f} degrees."
    )


def _cells(change: Change, percent: float | None) -> list[Value]:
    difference = change.difference
    return [
        *(None if value is None else Cell(_number(value), value) for value in (change.before, change.after)),
        None if difference is None else Cell(_number(difference, "+"), difference),
        None if percent is None else Cell(_percent(percent), percent),
    ]


def _number(value: float | None, sign: str = "") -> str:
    if value is None:
        return "–"
    return format(value, f"{sign}.2f" if abs(value) < 10 else f"{sign}.1f")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"


def _pictures(found: FollowUp, before: TimePoint, after: TimePoint) -> list[tuple[RGB, str, str]]:
    """For each lesion the slices of both scans side by side, what they show, and a caption."""
    if before.scan is None or after.scan is None or found.registration is None:
        return []
    matrices = found.registration.inverse, found.registration.matrix
    panels = _panels((before, after), matrices)
    pictures = []
    for lesion in found.lesions[:SHOWN]:
        sides = [
            _drawn(panel, own, other)
            for panel, own, other in zip(
                panels, (lesion.before, lesion.after), (lesion.after, lesion.before), strict=True
            )
        ]
        picture = np.concatenate([np.pad(side, ((0, 0), (0, GAP_PX), (0, 0))) for side in sides], axis=1)
        words = f"Lesion {lesion.title}, {lesion.status.replace('_', ' ')}"
        pictures.append((picture, f"{words}: axial slices before and after", f"{words}. {_caption(lesion)}"))
    return pictures


def _caption(lesion: LesionChange) -> str:
    volume, diameter = lesion.volume_ml, lesion.longest_axial_mm
    return (
        f"{_number(volume.before)} → {_number(volume.after)} ml ({_percent(volume.percent)} %), "
        f"longest {_number(diameter.before)} → {_number(diameter.after)} mm ({_percent(diameter.percent)} %)."
    )


def _panels(points: Sequence[TimePoint], from_other: Sequence[Affine]) -> list[_Panel]:
    """Both scans' panels, at one scale."""
    livers = [
        replace(
            point.labelmap,
            organs={label: name for label, name in point.labelmap.organs.items() if name in (ORGAN, LESION)},
        )
        for point in points
    ]
    views = [fit_view(liver.geometry, "axial", PANEL_PX, organ_box(liver, MARGIN_MM)) for liver in livers]
    scale = min(view.scale_px_mm for view in views)
    return [
        _Panel(when, point.scan.voxels, liver, replace(view, scale_px_mm=scale), point.lesions or (), matrix)
        for when, point, liver, view, matrix in zip(("before", "after"), points, livers, views, from_other, strict=True)
        if point.scan is not None
    ]


def _drawn(panel: _Panel, own: Sequence[Lesion], other: Sequence[Lesion]) -> RGB:
    """(H, W, 3) the slice of the largest of a scan's own lesions or, where it has none, of the place of the other's."""
    tile = Image.new("RGB", (PANEL_PX[1], PANEL_PX[0]), GROUND)
    geometry, view = panel.labelmap.geometry, panel.view
    ring_mm = None
    if own:
        index = abs(own[0].slice_number - slice_number(panel.labelmap, 0))
    else:
        place_mm = moved_points(panel.from_other, np.array([other[0].centre_mm]))
        if not in_view(geometry, place_mm)[0]:
            ImageDraw.Draw(tile).text(
                (PANEL_PX[1] / 2, PANEL_PX[0] / 2), f"{panel.when}: not in the scan", DIM, font(14), anchor="mm"
            )
            return np.asarray(tile)
        voxel = moved_points(np.linalg.inv(geometry.affine), place_mm)[0]
        index = int(np.clip(round(voxel[2]), 0, geometry.shape[2] - 1))
        ring_mm = other[0].longest_axial_mm / 2 + RING_MM
    height, width = view.size_px
    at = (PANEL_PX[1] - width) // 2, (PANEL_PX[0] - height) // 2
    labelmap = panel.labelmap
    tile.paste(Image.fromarray(draw_slice(view, index, panel.voxels, labelmap.labels, labelmap.organs, STYLE)), at)
    annotate(tile, view, index, at)
    label = BY_NAME[LESION].label
    for number, (x, y) in lesion_places(view, index, labelmap.labels, label, panel.lesions):
        write(tile, (at[0] + x + 3, at[1] + y), str(number), "lm")
    if ring_mm is not None:
        x, y = (at[n] + (view.box[n][1] - 0.5 - voxel[n]) * geometry.spacing_mm[n] * view.scale_px_mm for n in (0, 1))
        radius = ring_mm * view.scale_px_mm
        ImageDraw.Draw(tile).ellipse([x - radius, y - radius, x + radius, y + radius], outline=INK)
    write(tile, (PANEL_PX[1] - 7, 6), f"{panel.when}, slice {slice_number(labelmap, index)}", "rt")
    return np.asarray(tile)
