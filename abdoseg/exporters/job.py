"""What an exporter is given: a case with its labelmap, its scan where there is one, and how it is to be shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from abdoseg.errors import UsageError
from abdoseg.exporters import EXPORTERS
from abdoseg.image.components import Box
from abdoseg.image.volume import Labelmap, Volume
from abdoseg.image.volumetry import OrganVolume, boxes, measure
from abdoseg.rendering import Look
from abdoseg.rendering.slices import Plane
from abdoseg.runtime.files import ensure_absent, ensure_writable, writing

if TYPE_CHECKING:
    from abdoseg.image.mesh import Surface

Space = Literal["LPS", "RAS"]


@dataclass(frozen=True)
class Options:
    """What the user chose. seconds: None lets the slices decide.

    triangles: the most in one organ's mesh; there are more where fewer would not close it.
    series: number or UID of the DICOM series, where a folder holds several. gaps: as `read_scan` has it. Both as they
    were when the scan was segmented, so that the same slices are found again.
    """

    space: Space = "LPS"
    triangles: int = 20_000
    plane: Plane = "axial"
    look: Look = field(default_factory=Look)
    fps: int = 25
    seconds: float | None = None
    seg_type: Literal["binary", "labelmap"] = "binary"
    series: str | None = None
    gaps: str = "fill"


@dataclass
class Made:
    """What has been worked out of a case, once for all its exports."""

    rows: list[OrganVolume] | None = None
    boxes: dict[int, Box] = field(default_factory=dict)
    surfaces: dict[str, Surface | None] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Job:
    """One case to export.

    scan, truth: on the labelmap's grid. reference: the DICOM series that the scan was, for DICOM SEG and RTSTRUCT.
    record: the run's CASE.json, for the report.
    """

    case: str
    labelmap: Labelmap
    scan: Volume | None = None
    truth: Labelmap | None = None
    reference: Path | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    made: Made = field(default_factory=Made)

    @property
    def rows(self) -> list[OrganVolume]:
        """One row an organ, HU where there is a scan."""
        if self.made.rows is None:
            self.made.rows = measure(self.labelmap, None if self.scan is None else self.scan.voxels)
        return [row for row in self.made.rows if row.label in self.labelmap.organs]

    @property
    def found(self) -> list[OrganVolume]:
        """The rows of organs that are there."""
        return [row for row in self.rows if row.voxels]

    def only(self, organ: str) -> Job:
        """The same job for one organ alone."""
        organs = {label: name for label, name in self.labelmap.organs.items() if name == organ}
        return replace(self, labelmap=replace(self.labelmap, organs=organs))

    def surface(self, organ: str) -> Surface | None:
        """The organ's surface, None when it has no voxels."""
        if organ not in self.made.surfaces:
            from abdoseg.image.mesh import surface

            label = next(label for label, name in self.labelmap.organs.items() if name == organ)
            self.made.boxes = self.made.boxes or boxes(self.labelmap.labels)
            box = self.made.boxes.get(label)
            if box is None:
                self.made.surfaces[organ] = None
            else:
                part = self.labelmap.geometry.cropped([side.start for side in box], [side.stop for side in box])
                mask = self.labelmap.labels[box] == label
                self.made.surfaces[organ] = surface(mask, part, self.options.triangles)
        return self.made.surfaces[organ]

    def series(self) -> Path:
        """The DICOM series. Raises UsageError when none is known."""
        if self.reference is None:
            raise UsageError(f"{self.case}: DICOM outputs lie on a DICOM series; name its folder with --reference")
        return self.reference


def planned(job: Job, folder: Path, formats: Sequence[str], split: bool | None = None) -> list[tuple[str, Job, Path]]:
    """Every file that an export would write: its format, the job (of one organ, when split) and its path.

    split: one file an organ (True), all in one (False), or as the format has it.
    """
    files = []
    for name in formats:
        for organ, path in EXPORTERS[name].paths(folder, job.case, [row.organ for row in job.found], split).items():
            files.append((name, job.only(organ) if organ else job, path))
    return files


def export(
    job: Job, folder: Path, formats: Sequence[str], split: bool | None = None, overwrite: bool = False
) -> Iterator[Path]:
    """Writes a case in every format, and yields each path once its file is whole.

    Raises OutputError before any work when one of them exists and `overwrite` is not given, or the folder takes none.
    """
    files = planned(job, folder, formats, split)
    ensure_absent([path for _, _, path in files], overwrite)
    ensure_writable(folder)
    for name, part, path in files:
        module, function = EXPORTERS[name].function.split(":")
        write = getattr(import_module(f"abdoseg.exporters.{module}"), function)
        with writing(path, overwrite) as temporary:
            write(part, temporary)
        yield path
