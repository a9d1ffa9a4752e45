"""`abdoseg export`: labelmaps to meshes, tables, videos, DICOM and reports."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk, echo_data
from abdoseg.cli.export_options import ExportFlags, export_flags
from abdoseg.errors import AbdosegError, UsageError
from abdoseg.exporters import EXPORTERS

if TYPE_CHECKING:
    from abdoseg.image.volumetry import OrganVolume

# What may stand beside a labelmap in a pipe: what `segment` and `export` write that is none.
LABELMAPS = ("nifti", "nrrd", "mha")
COMPANIONS = (".json", ".csv", *(made.suffix for name, made in EXPORTERS.items() if name not in LABELMAPS))


@dataclass(frozen=True, kw_only=True)
class ExportCommandOptions(ExportFlags):
    """Arguments and flags of `abdoseg export`."""

    paths: tuple[str, ...]
    from_file: str | None
    output: Path | None
    scheme: str | None
    scan: Path | None
    truth: Path | None
    truth_labels: str
    reference: Path | None
    overwrite: bool
    as_json: bool
    quiet: bool


@click.command()
@options.paths
@options.from_file
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where files go.  [default: beside each labelmap]",
)
@options.recorded_labels
@click.option(
    "--scan",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The scan, or for several labelmaps a folder of scans by case name.  [default: by CASE.json]",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Ground truth to show beside the labelmap; a file, or a folder of files by case name.",
)
@click.option(
    "--truth-labels", default="abdoseg", show_default=True, metavar="SCHEME", help="Label numbers of the truth."
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The DICOM series that was segmented, or a folder of series by case name.",
)
@options.series
@options.gaps
@export_flags
@options.overwrite
@options.as_json
@options.quiet
@options.as_options(ExportCommandOptions)
def export(given: ExportCommandOptions) -> int:
    """Export labelmaps to what people work with.

    PATH is a labelmap, its record CASE.json, a folder of results, or a folder of masks with one organ each, named as
    the organ. Without PATH, paths are read from a pipe. Paths of the files written go to stdout.

    \b
        abdoseg export out/scan_seg.nii.gz --stl --video --csv
        abdoseg segment cohort/*.nii.gz -o out/ | abdoseg export --stl --video
        abdoseg export out/*_seg.nii.gz --dicom-seg --reference ct_folder/
    """
    from abdoseg.exporters.job import export as write
    from abdoseg.exporters.open_case import CaseFiles, open_case

    talk = Talk(given.quiet)
    formats, chosen = given.format_names(), given.exporter_options()
    if not formats:
        raise UsageError("nothing to export; name at least one format, such as --stl --video --csv")
    labelmaps = _labelmaps(given.paths, given.from_file)
    several = len(labelmaps) > 1
    if given.output or "csv" in formats:
        _check_names(labelmaps)
    files = CaseFiles(given.scheme, given.scan, given.truth, given.truth_labels, given.reference, several)
    cohort: dict[str, Sequence[OrganVolume]] = {}
    failures: list[AbdosegError] = []
    for path in talk.track(labelmaps, "export"):
        try:
            job = open_case(path, files, formats, chosen)
            written = write(job, given.output or path.parent, formats, given.split, given.overwrite)
            _tell(job.case, written, given.as_json)
        except AbdosegError as error:
            if not several:
                raise
            talk.error(str(error))
            failures.append(error)
        else:
            cohort[job.case] = job.rows
    if "csv" in formats and several and cohort:
        tables = _tables(cohort, given.output or labelmaps[0].parent, given.overwrite)
        _tell(None, tables, given.as_json)
    return failures[0].exit_code if failures else 0


def _labelmaps(paths: tuple[str, ...], from_file: str | None) -> list[Path]:
    """The labelmaps named, or read from a pipe when none is; what stands beside labelmaps in a pipe is passed over.

    A record stands for its labelmap, a folder of results for all of its labelmaps.
    """
    if not paths and not from_file and not sys.stdin.isatty():
        from_file = "-"
    from abdoseg.io.record import recorded_labelmaps

    listed = options.listed_paths(paths, from_file)
    named = dict.fromkeys(labelmap for path in listed for labelmap in recorded_labelmaps(path))
    labelmaps = [path for path in named if not path.name.lower().endswith(COMPANIONS)]
    if not labelmaps:
        raise UsageError(f"{listed[0]}: no labelmap, nor is any other path given; name labelmaps such as x_seg.nii.gz")
    return labelmaps


def _check_names(labelmaps: list[Path]) -> None:
    """Raises UsageError when two labelmaps are of one case, so that files or rows of theirs would have one name."""
    from abdoseg.exporters.open_case import case_of

    cases: dict[str, Path] = {}
    for path in labelmaps:
        other = cases.setdefault(case_of(path), path)
        if other is not path:
            raise UsageError(f"{other} and {path} are both of case {case_of(path)}; rename one, or call twice")


def _tell(case: str | None, written: Iterable[Path], as_json: bool) -> None:
    """Each path on stdout as soon as its file is whole; or one JSON object."""
    outputs = []
    for path in written:
        outputs.append(str(path))
        if not as_json:
            echo_data(str(path))
    if as_json:
        echo_data(json.dumps({"case": case, "outputs": outputs}))


def _tables(cohort: Mapping[str, Sequence[OrganVolume]], folder: Path, overwrite: bool) -> list[Path]:
    """Volumes of all cases, one row a case and organ and one row a case."""
    from abdoseg.exporters.volumes_table import write_long, write_wide
    from abdoseg.runtime.files import writing

    long, wide = folder / "volumes_long.csv", folder / "volumes_wide.csv"
    with writing(long, overwrite) as temporary_long, writing(wide, overwrite) as temporary_wide:
        write_long(cohort, temporary_long)
        write_wide(cohort, temporary_wide)
    return [long, wide]
