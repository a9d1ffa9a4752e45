"""Scan check: a verdict on a scan before segmentation, ok, review or unusable, with its reasons and facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from abdoseg.errors import AbdosegError
from abdoseg.image.volume import Geometry, Volume
from abdoseg.inference.resources import expected_bytes, expected_seconds
from abdoseg.io.image_file import Remark
from abdoseg.io.read import ScanSummary, read_scan
from abdoseg.quality.body_coverage import Coverage, coverage

Verdict = Literal["ok", "review", "unusable"]
THICK_MM = 6.0
COARSE_MM = 3.5
SHORT_MM = 60.0
KIDNEYS_MM = 180.0  # from the lungs' bases to the lower poles of the kidneys, usually
ABDOMEN_MM = 20.0
FRONT = 0.53  # real spines lie at 0.25 to 0.47 of the way from back to front
NETWORK_SPACING_MM = (1.44, 1.44, 2.16)  # of the bundled weights, which are not read here; a test binds the two


@dataclass(frozen=True)
class ScanReport:
    """reasons: sentences for the verdict, worst first. remarks: worth knowing. facts: JSON-able, without identity."""

    verdict: Verdict
    reasons: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def check_scan(path: Path, *, series: str | None = None, gaps: str = "auto", assume_axes: bool = False) -> ScanReport:
    """Reads a scan and judges it. What cannot be read is unusable; nothing is raised for a bad scan."""
    try:
        volume = read_scan(path, series=series, gaps=gaps, assume_axes=assume_axes)
    except AbdosegError as error:
        return ScanReport("unusable", (str(error),))
    return check_volume(volume)


def check_volume(volume: Volume) -> ScanReport:
    """The verdict on a scan that could be read."""
    covered = coverage(volume)
    unusable: list[str] = []
    review = [note for note in volume.notes if not isinstance(note, Remark)]
    remarks: list[str] = [note for note in volume.notes if isinstance(note, Remark)]
    if covered is None:
        unusable.append("no body is seen in the picture")
    else:
        review += _doubts(volume.geometry, covered)
        if covered.cut:
            remarks.append(f"the picture ends before the body does: {', '.join(covered.cut)}")
        if covered.lungs_above_mm and covered.below_lungs_mm < ABDOMEN_MM:
            unusable.append(f"a chest: only {covered.below_lungs_mm:.0f} mm lie below the lungs")
    review += _coarse(volume)
    verdict: Verdict = "unusable" if unusable else "review" if review else "ok"
    return ScanReport(
        verdict, (*unusable, *review), tuple(remarks), facts(volume) | {"coverage": _coverage_facts(covered)}
    )


def facts(scan: Volume | ScanSummary) -> dict[str, Any]:
    """What a scan is, in numbers: for `info` and `check`."""
    stored = scan.stored.geometry
    grid = stored.resampled(NETWORK_SPACING_MM)
    return {
        **scan.details,
        "shape": list(stored.shape),
        "spacing_mm": [round(float(n), 4) for n in stored.spacing_mm],
        "axes": stored.axes,
        "field_of_view_mm": [round(float(n), 1) for n in np.array(stored.shape) * stored.spacing_mm],
        "shear_degrees": round(stored.shear_degrees, 2),
        "expected_seconds": round(expected_seconds(stored, grid), 1),
        "expected_gb": round(expected_bytes(stored, grid) / 2**30, 1),
    }


def _doubts(geometry: Geometry, covered: Coverage) -> list[str]:
    """Reasons to look: axes that contradict the anatomy, organs that may be cut."""
    doubts = []
    length = geometry.shape[2] * float(geometry.spacing_mm[2])
    if length < SHORT_MM:
        return [f"a slab of {length:.0f} mm: every organ is cut"]
    if covered.lungs_below_mm > 20 and not covered.lungs_above_mm:
        doubts.append("upside-down: the lungs lie at the lower end; are the axes right?")
    elif not covered.lungs_above_mm:
        doubts.append("no lung at the upper end: the dome of the liver and the spleen may be cut")
    elif covered.below_lungs_mm < KIDNEYS_MM:
        doubts.append(f"only {covered.below_lungs_mm:.0f} mm below the lungs: the kidneys may be cut")
    if covered.spine is not None and covered.spine > FRONT:
        doubts.append("back to front: the spine lies in front; are the axes right?")
    return doubts


def _coarse(volume: Volume) -> list[str]:
    """Reasons that lie in the voxels."""
    found = []
    across, along = float(volume.stored.geometry.spacing_mm.min()), float(volume.stored.geometry.spacing_mm.max())
    if across > COARSE_MM:
        found.append(f"coarse: no axis has voxels smaller than {across:.1f} mm")
    if along > THICK_MM:
        found.append(f"thick slices: {along:.1f} mm apart; volumes will be rough")
    return found


def _coverage_facts(covered: Coverage | None) -> dict[str, Any] | None:
    if covered is None:
        return None
    return {
        "lungs_above_mm": round(covered.lungs_above_mm),
        "below_lungs_mm": round(covered.below_lungs_mm),
        "upside_down": covered.lungs_below_mm > 20 and not covered.lungs_above_mm,
        "spine_back_to_front": None if covered.spine is None else round(covered.spine, 2),
        "cut": list(covered.cut),
    }
