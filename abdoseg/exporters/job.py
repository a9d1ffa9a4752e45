"""An export job: one case with its labelmap, measurements, scan and options, written in every format chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from abdoseg.anatomy.organs import LESION
from abdoseg.errors import UsageError
from abdoseg.exporters import EXPORTERS, LESIONS, SURFACES
from abdoseg.image.volume import Labelmap, Volume
from abdoseg.image.volumetry import OrganVolume, boxes, measure
from abdoseg.rendering import SliceStyle
from abdoseg.rendering.slices import Plane
from abdoseg.runtime.files import ensure_absent, ensure_writable, writing

if TYPE_CHECKING:
    from abdoseg.image.lesions import Lesion
    from abdoseg.image.mesh import Surface

Space = Literal["LPS", "RAS"]


@dataclass(frozen=True)
class ExportOptions:
    """Options of all formats. seconds: a video's length; None takes it from the number of slices.

    whole_scan: videos show all slices, not only those around the organs.
    lesions_apart: DICOM SEG and RTSTRUCT have a segment or structure for each lesion.

    triangles: the most in one organ's mesh; there are more where fewer would not close it.
    series: number or UID of the DICOM series, where a folder holds several. gaps: as `read_scan` has it. Both as they
    were when the scan was segmented, so that the same slices are found again.
    """

    space: Space = "LPS"
    triangles: int = 20_000
    plane: Plane = "axial"
    slice_style: SliceStyle = field(default_factory=SliceStyle)
    fps: int = 25
    seconds: float | None = None
    whole_scan: bool = False
    lesions_apart: bool = False
    seg_type: Literal["binary", "labelmap"] = "binary"
    series: str | None = None
    gaps: str = "auto"


@dataclass(frozen=True, eq=False)
class Job:
    """One case to export.

    rows: one an organ of the labelmap, found or not, with HU where there is a scan. scan, truth: on the labelmap's
    grid. reference: the DICOM series that the scan was, for DICOM SEG and RTSTRUCT. record: the run's CASE.json, for
    the report. surfaces: of the organs that are there, for the formats that show them; see `with_surfaces`. lesions: of
    the liver, the largest first; None before `with_lesions`.
    """

    case: str
    labelmap: Labelmap
    rows: tuple[OrganVolume, ...]
    scan: Volume | None = None
    truth: Labelmap | None = None
    reference: Path | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    options: ExportOptions = field(default_factory=ExportOptions)
    surfaces: Mapping[str, Surface] = field(default_factory=dict)
    lesions: tuple[Lesion, ...] | None = None

    @classmethod
    def measured(cls, case: str, labelmap: Labelmap, scan: Volume | None = None, **others: Any) -> Job:
        """A job whose rows are measured here. others: the remaining fields."""
        rows = measure(labelmap, None if scan is None else scan.voxels)
        return cls(case, labelmap, tuple(rows), scan, **others)

    @property
    def found(self) -> list[OrganVolume]:
        """The rows of organs that are there."""
        return [row for row in self.rows if row.voxels]

    def only(self, organ: str) -> Job:
        """The same job for one organ alone."""
        organs = {label: name for label, name in self.labelmap.organs.items() if name == organ}
        rows = tuple(row for row in self.rows if row.organ == organ)
        return replace(self, labelmap=replace(self.labelmap, organs=organs), rows=rows)

    def with_surfaces(self) -> Job:
        """The same job with the surface of every organ that is there."""
        from abdoseg.image.mesh import surface

        labelmap, within = self.labelmap, boxes(self.labelmap.labels)
        made = {}
        for row in self.found:
            box = within[row.label]
            part = labelmap.geometry.cropped_to(box)
            found = surface(labelmap.labels[box] == row.label, part, self.options.triangles)
            assert found is not None  # the organ has voxels
            made[row.organ] = found
        return replace(self, surfaces=made)

    def with_lesions(self) -> Job:
        """The same job with its lesions measured, unless they are already."""
        from abdoseg.image.lesions import measure_lesions

        if self.lesions is not None:
            return self
        there = any(row.organ == LESION for row in self.found)
        voxels = None if self.scan is None else self.scan.voxels
        return replace(self, lesions=measure_lesions(self.labelmap, voxels, LESION) if there else ())

    def series(self) -> Path:
        """The DICOM series. Raises UsageError when none is known."""
        if self.reference is None:
            raise UsageError(f"{self.case}: DICOM outputs lie on a DICOM series; name its folder with --reference")
        return self.reference


def planned(job: Job, folder: Path, formats: Sequence[str], split: bool | None = None) -> list[tuple[str, Job, Path]]:
    """Lists every file that an export would write, without writing.

    Args:
        job: the case.
        folder: where the files go.
        formats: names in EXPORTERS.
        split: one file an organ (True), all in one (False), or as the format has it.

    Returns:
        For each file its format, the job (of one organ, when split) and its path.
    """
    files = []
    for name in formats:
        for organ, path in EXPORTERS[name].paths(folder, job.case, [row.organ for row in job.found], split).items():
            files.append((name, job.only(organ) if organ else job, path))
    return files


def export(
    job: Job, folder: Path, formats: Sequence[str], split: bool | None = None, overwrite: bool = False
) -> Iterator[Path]:
    """Writes a case in every format.

    Args:
        job: the case.
        folder: where the files go; made when missing.
        formats: names in EXPORTERS.
        split: as in `planned`.
        overwrite: replace files that exist.

    Yields:
        Each path once its file is whole.

    Raises:
        OutputError: before any work, when a file exists and `overwrite` is not given, or the folder takes none.
    """
    ensure_absent([path for _, _, path in planned(job, folder, formats, split)], overwrite)
    ensure_writable(folder)
    needs = {need for name in formats for need in EXPORTERS[name].needs}
    if SURFACES in needs:
        job = job.with_surfaces()
    if LESIONS in needs:
        job = job.with_lesions()
    for name, part, path in planned(job, folder, formats, split):
        module, function = EXPORTERS[name].function.split(":")
        write = getattr(import_module(f"abdoseg.exporters.{module}"), function)
        with writing(path, overwrite) as temporary:
            write(part, temporary)
        yield path
