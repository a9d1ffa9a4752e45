"""abdoseg segment: scans to labelmaps, volumes and records."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from abdoseg.anatomy.organs import LESION, title_of
from abdoseg.cli import options, param_types
from abdoseg.cli.case_facts import case_facts
from abdoseg.cli.case_progress import CaseProgress
from abdoseg.cli.console import Talk, echo_data
from abdoseg.cli.dry_run import list_cases
from abdoseg.cli.export_options import ExportFlags, export_flags
from abdoseg.cli.report import write_reports
from abdoseg.cli.resume import RunRequest
from abdoseg.cli.shard import resolve_shard
from abdoseg.errors import OutputError, ScanError, UsageError
from abdoseg.exporters import EXPORTERS, ORGAN, SERIES
from abdoseg.runtime.progress import silent

if TYPE_CHECKING:
    from abdoseg.batch import CaseResult, Export
    from abdoseg.cohort.scan_cases import ScanCase
    from abdoseg.image.volume import Volume
    from abdoseg.runtime.ledger import Ledger
    from abdoseg.segmentation import Segmentation

LOG = logging.getLogger("abdoseg")


@dataclass(frozen=True, kw_only=True)
class SegmentOptions(ExportFlags):
    """Arguments and flags of `abdoseg segment`. max_memory: bytes."""

    paths: tuple[str, ...]
    from_file: str | None
    output: Path
    scheme: str
    organs: str | None
    tumour: bool
    reference: Path | None
    model_names: tuple[str, ...]
    device: str
    threads: int | None
    max_memory: int | None
    assume_axes: bool
    all_series: bool
    dry_run: bool
    resume: bool
    scheduler: str | None
    shard: str | None
    keep_going: bool
    progress: Literal["auto", "json", "none"]
    overwrite: bool
    as_json: bool
    quiet: bool

    def request(self) -> RunRequest:
        """What the ledger keeps of this call, by which --resume knows cases that were done so."""
        organs = self.organ_names()
        options = {
            "labels": self.scheme,
            "organs": "all" if self.all_organs else organs and sorted(organs),
            "model": self.model_names[0] if len(self.model_names) == 1 else [*self.model_names] or None,
            "split": self.split,
            "tumour": self.tumour,
        }
        return RunRequest(options | self.reading(), self.further_formats())

    def _known_organs(self) -> str:
        from abdoseg.model.ensemble import load_models
        from abdoseg.segmentation import known_organs

        plan = load_models(self.model_names, "cpu").plan
        return ", ".join(known_organs(plan, plan.organs))

    def further_formats(self) -> list[str]:
        """The formats beside the labelmap, which is written anyway."""
        return [name for name in self.format_names() if name != "nifti"]

    def reading(self) -> dict[str, Any]:
        """Further arguments of `read_scan`."""
        return {"series": self.series, "gaps": self.gaps, "assume_axes": self.assume_axes}

    @property
    def all_organs(self) -> bool:
        """Whether all that the model knows is wanted."""
        return (self.organs or "").strip().lower() == "all"

    def organ_names(self) -> tuple[str, ...] | None:
        """The organs asked for; None for the model's own, or all. Raises UsageError for names or schemes not known."""
        from abdoseg.anatomy.label_schemes import SCHEMES, numbers_in, organ_name
        from abdoseg.anatomy.organs import BY_NAME
        from abdoseg.model.plan import members

        if self.scheme not in SCHEMES:
            raise UsageError(f"--labels {self.scheme}: no such scheme; there are {', '.join(SCHEMES)}")
        if self.organs is None or self.all_organs:
            return None
        given = (organ_name(name) for name in self.organs.split(","))
        organs = tuple(organ for name in given for organ in members(name))
        for organ in organs:
            if organ not in BY_NAME:
                raise UsageError(f"--organs {organ}: no such organ; the model knows {self._known_organs()}, or say all")
            if organ not in numbers_in(self.scheme):
                raise UsageError(f"--organs {organ}: the scheme {self.scheme} has no number for it")
        return organs


@click.command()
@options.paths
@options.from_file
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="FOLDER|FILE.nii.gz",
    help="Where results go; for one scan also the labelmap's own name.  [default: this folder]",
)
@options.labels
@click.option(
    "--organs",
    metavar="NAME,...|all",
    shell_complete=param_types.complete_organs,
    help="Organs to deliver, or all that the model knows.  [default: its main ones]",
)
@click.option("--tumour", is_flag=True,
              help="Liver tumours, too: a label of their own (the liver's volume is then without them, with_lesions_ml "
                   "with them), and CASE_lesions.csv with the size, place and contrast of each.")  # fmt: skip
@options.model
@options.device
@options.threads
@click.option("--max-memory", callback=param_types.size, metavar="SIZE",
              help="Take no more than this, such as 2G: smaller tiles, or refuse.")  # fmt: skip
@options.series
@options.gaps
@options.assume_axes
@click.option("--reference", type=click.Path(path_type=Path), metavar="FOLDER",
              help="For DICOM outputs of scans that are no DICOM: the series that they were made from, or a folder of "
                   "series by case name.")  # fmt: skip
@click.option("--all-series", is_flag=True, help="Every CT series of a DICOM study, in place of the best one.")
@click.option("--dry-run", is_flag=True, help="List what would be done on stdout, with time and memory, and stop.")
@click.option("--resume", is_flag=True, help="Pass over cases that the folder's ledger says are done.")
@click.option("--scheduler", metavar="ADDRESS|local:N|FILE.yaml",
              help="Send cases to workers of a Dask scheduler, to N processes here, or to a queue's jobs.")  # fmt: skip
@click.option("--shard", metavar="I/N|auto", help="Every N-th scan from the I-th on, for N machines on one list; auto: "
              "by the array job of Slurm or SGE that this is a task of; auto/N: by that of PBS.")  # fmt: skip
@click.option(
    "--keep-going/--fail-fast", default=True, show_default=True, help="After a scan that fails, do the others or stop."
)
@click.option("--progress", type=click.Choice(["auto", "json", "none"]), default="auto", show_default=True,
              help="On stderr: a bar on a terminal, or a JSON line a case.")  # fmt: skip
@export_flags
@options.overwrite
@options.as_json
@options.quiet
@options.as_options(SegmentOptions)
def segment(given: SegmentOptions) -> int:
    """Segment scans: liver, kidneys and spleen, each on its scan's own grid.

    PATH is a NIfTI, MetaImage or NRRD file, a DICOM file, a zip, a folder whose scans and DICOM studies are found
    however deep they lie, or - for a list of paths on stdin. For each case, named after its file or folder,
    CASE_seg.nii.gz, CASE_volumes.csv and CASE.json are written, and whatever else is asked for. Their paths go to
    stdout.

    \b
        abdoseg segment scan.nii.gz -o out/
        abdoseg segment cohort/ -o out/ --stl --video
        abdoseg segment scan.nii.gz -o liver.nii.gz --organs liver
        abdoseg segment scan.nii.gz -o out/ --tumour
    """  # fmt: skip
    from abdoseg.batch import BatchOptions, check_outputs, run
    from abdoseg.cohort.scan_cases import plan_cases, sharded
    from abdoseg.runtime.files import ensure_writable
    from abdoseg.runtime.ledger import Ledger

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    talk = Talk(given.quiet)
    cases = plan_cases(options.listed_scans(given.paths, given.from_file), given.output, given.all_series)
    single, several = cases[0].record is None, len(cases) > 1
    shard = resolve_shard(given.shard, os.environ)
    if shard:
        cases = sharded(cases, shard)
    ledger = None if single else Ledger(given.output, shard)
    organs, reading = given.organ_names(), given.reading()
    request = given.request()
    overwrite = given.overwrite
    if given.resume and ledger:
        cases, overwrite = request.unfinished(cases, ledger, talk, given.as_json), True
    batch = BatchOptions(given.scheme, organs, overwrite, given.max_memory, given.tumour, reading, given.all_organs)
    folder = given.output.parent if single else given.output
    export = _exporting(given, folder, overwrite or bool(given.scheduler), several, _reference_series(given, cases))
    load = options.model_loader(given.model_names, given.device, given.threads)
    if given.dry_run:
        return list_cases(cases, load, reading, talk)
    if several and ledger and not overwrite:
        _ensure_new(cases, ledger)
    tables = [case.lesions for case in cases if case.lesions and (given.tumour or LESION in (organs or ()))]
    check_outputs(cases, batch, [*tables, *_planned_exports(cases, folder, given, organs)])
    if several:
        from abdoseg.cohort.thumbnail import thumbnail_path

        ensure_writable(thumbnail_path(folder, "").parent)
    tiles = talk.track if len(cases) == 1 and given.progress == "auto" else silent
    done: list[str] = []
    exit_codes: set[int] = set()

    def finished(result: CaseResult) -> None:
        if ledger:
            request.note(result, ledger)
        if not result.error:
            done.append(result.case.name)

    if given.scheduler:
        from abdoseg.cluster import run_on_cluster

        load = options.worker_loader(given.model_names, given.device, given.threads, given.scheduler)
        results = run_on_cluster(cases, load, given.scheduler, batch, export, finished)
    else:
        results = run(cases, load, batch, export, tiles, finished)
    try:
        with CaseProgress(len(cases), given.progress, talk) as progress, closing(results):
            for result in results:
                _tell(result, talk, given.as_json)
                progress.advance(result.case.name, result.error is not None)
                if result.error:
                    exit_codes.add(result.error.exit_code)
                    if not given.keep_going:
                        break
    except KeyboardInterrupt:
        more = "; go on with --resume" if ledger else ""
        fallen = f", {progress.failed} failed" if progress.failed else ""
        talk.say(f"interrupted: {len(done)} of {len(cases)} cases are done{fallen}{more}")
        raise
    if several and ledger and ledger.latest():
        write_reports(folder, talk)
    return 1 if len(exit_codes) > 1 else next(iter(exit_codes), 0)


def _ensure_new(cases: Sequence[ScanCase], ledger: Ledger) -> None:
    """Raises OutputError where a former run did some of the cases."""
    finished = ledger.done()
    former = [case.labelmap for case in cases if case.name in finished]
    if former:
        raise OutputError(
            f"{former[0]}: exists already, as {len(former)} of {len(cases)} cases are done; pass --resume to do the "
            "others, --overwrite to do all again, or name another output"
        )


def _planned_exports(
    cases: Sequence[ScanCase], folder: Path, given: SegmentOptions, organs: Sequence[str] | None
) -> list[Path]:
    """Every file that the cases may have in the formats, of the organs asked for or the main ones."""
    from abdoseg.anatomy.organs import MAIN

    planned = (
        EXPORTERS[name].paths(folder, case.name, organs or MAIN, given.split)
        for case in cases
        for name in given.further_formats()
    )
    return [path for paths in planned for path in paths.values()]


def _reference_series(given: SegmentOptions, cases: Sequence[ScanCase]) -> dict[str, Path]:
    """By case the DICOM series that DICOM outputs lie on; empty when none is wanted. Raises UsageError before any work.

    A scan that cannot be read has none: it will fail when it is read.
    """
    from abdoseg.exporters.open_case import path_of_case
    from abdoseg.io.formats import format_of

    wanted = [name for name in given.format_names() if SERIES in EXPORTERS[name].needs]
    found: dict[str, Path] = {}
    for case in cases if wanted else ():
        path = case.scan
        if given.reference:
            path = path_of_case(given.reference, case.name, len(cases) > 1)
        with suppress(ScanError):
            kind = format_of(path) if given.reference or case.member is None else "NIfTI"
            if kind != "DICOM":
                raise UsageError(
                    f"{path}: is {kind}, and --{wanted[0]} lies on a DICOM series; name it with --reference"
                )
            found[case.name] = path
    return found


def _exporting(
    given: SegmentOptions, folder: Path, overwrite: bool, thumbnails: bool, series: Mapping[str, Path]
) -> Export | None:
    """Writes the formats beside the labelmap, and thumbnails for the index page; None when there is neither."""
    chosen, formats = given.exporter_options(), given.further_formats()
    if given.scheduler:
        folder, series = folder.absolute(), {case: path.absolute() for case, path in series.items()}
    if not formats and not thumbnails:
        return None

    def export(case: ScanCase, volume: Volume, found: Segmentation) -> Iterable[Path]:
        from abdoseg.cohort.thumbnail import write_thumbnail
        from abdoseg.exporters import job

        look = replace(chosen, series=case.series or chosen.series)
        work = job.Job(
            case.name,
            found.labelmap,
            tuple(found.rows),
            volume,
            reference=series.get(case.name),
            record=found.record.to_dict(),
            options=look,
            lesions=found.lesions.get(LESION),
        )
        if thumbnails:
            write_thumbnail(volume, found.labelmap, folder, case.name)
        possible = [name for name in formats if work.found or ORGAN not in EXPORTERS[name].needs]
        for name in formats:
            if name not in possible:
                LOG.warning("%s: no organ was found, and --%s needs one: not written", case.name, name)
        return job.export(work, folder, possible, given.split, overwrite)

    return export


def _tell(result: CaseResult, talk: Talk, as_json: bool) -> None:
    """Paths or JSON on stdout, news and warnings on stderr."""
    name, error = result.case.name, result.error
    if error:  # of several series in a zip or a folder, its path does not tell which
        talk.error(f"{name}: {error}" if result.case.series else str(error))
    for warning in result.record.get("warnings", ()):  # remarks on the reading stay in the record
        talk.warn(f"{name}: {warning}")
    if as_json:
        echo_data(json.dumps(case_facts(result)))
        return
    for path in result.written:
        echo_data(path)
    if not error:
        organs = ", ".join(f"{title_of(row['organ'])} {row['volume_ml']:.0f} ml" for row in result.rows)
        talk.say(f"{name}: {organs} ({result.seconds:.1f} s)")
