"""abdoseg segment: scans to labelmaps, volumes and records."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk
from abdoseg.cli.export_options import chosen_options, export_flags, wanted
from abdoseg.cli.process import import_torch, tune_process
from abdoseg.cli.resume import Asked
from abdoseg.errors import UsageError
from abdoseg.exporters import EXPORTERS

if TYPE_CHECKING:
    from abdoseg.batch import Case, Export, Outcome
    from abdoseg.image.volume import Volume
    from abdoseg.model.weights import Model
    from abdoseg.segmentation import Segmentation

LEAST_SIZE = 2**20  # bytes; below it a unit was forgotten


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
@click.option("--organs", metavar="NAME,...", help="Organs to deliver.  [default: the model's main ones]")
@options.model
@options.device
@options.threads
@click.option("--max-memory", metavar="SIZE", help="Take no more than this, such as 2G: smaller tiles, or refuse.")
@options.series
@options.gaps
@options.assume_axes
@click.option("--resume", is_flag=True, help="Pass over cases that the folder's ledger says are done.")
@click.option("--shard", metavar="I/N", help="Every N-th scan from the I-th on, for N machines on one list.")
@click.option("--keep-going/--fail-fast", default=True, show_default=True, help="After a scan that fails.")
@export_flags
@options.overwrite
@options.as_json
@options.quiet
def segment(paths: tuple[str, ...], from_file: str | None, quiet: bool, as_json: bool, **flags: Any) -> int:
    """Segment scans: liver, kidneys and spleen, each on its scan's own grid.

    PATH is a NIfTI, MetaImage or NRRD file, a DICOM folder, zip or file, a folder of scan files, or - for a list of
    paths on stdin. For each case, named after its file, CASE_seg.nii.gz, CASE_volumes.csv and CASE.json are written,
    and whatever else is asked for. Their paths go to stdout.

    \b
        abdoseg segment scan.nii.gz -o out/
        abdoseg segment cohort/*.nii.gz ct_folder/ -o out/ --stl --video
        abdoseg segment scan.nii.gz -o liver.nii.gz --organs liver
    """  # fmt: skip
    from abdoseg.batch import Settings, plan_cases, prepare, run, sharded
    from abdoseg.runtime.ledger import Ledger

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    talk = Talk(quiet)
    output: Path = flags["output"]
    cases = plan_cases(options.listed_paths(paths, from_file), output)
    single = cases[0].record is None
    if flags["shard"]:
        cases = sharded(cases, flags["shard"])
    ledger = None if single else Ledger(output, flags["shard"])
    organs = _organs(flags["organs"], flags["scheme"])
    formats = [name for name in wanted(flags) if name != "nifti"]  # the labelmap is written anyway
    reading = {name: flags[name] for name in ("series", "gaps", "assume_axes")}
    kept = {"labels": flags["scheme"], "organs": organs and sorted(organs), "model": flags["model_name"]}
    asked = Asked(kept | reading | {"split": flags["split"]}, formats)
    overwrite = flags["overwrite"]
    if flags["resume"] and ledger:
        cases, overwrite = asked.unfinished(cases, ledger, talk, as_json), True
    settings = Settings(
        scheme=flags["scheme"],
        organs=organs,
        overwrite=overwrite,
        max_memory=_size(flags["max_memory"]),
        reading=reading,
    )
    folder = output.parent if single else output
    export = _exporting(formats, flags, folder, overwrite)
    prepare(cases, settings, _exports(cases, folder, formats, organs, flags["split"]))
    load = loading(flags["model_name"], flags["device"], flags["threads"])
    tiles, scans = (talk.track, _untracked) if len(cases) == 1 else (_untracked, talk.track)
    failures: list[Outcome] = []
    done: list[str] = []

    def settled(outcome: Outcome) -> None:
        if ledger:
            asked.note(outcome, ledger)
        if not outcome.error:
            done.append(outcome.case.name)

    try:
        outcomes = run(cases, load, settings, export, tiles, settled)
        for _, outcome in zip(scans(cases, "segment"), outcomes, strict=False):
            _tell(outcome, talk, as_json)
            if outcome.error:
                failures.append(outcome)
                if not flags["keep_going"]:
                    break
    except KeyboardInterrupt:
        more = "; go on with --resume" if ledger else ""
        talk.say(f"interrupted: {len(done)} of {len(cases)} cases are done{more}")
        raise
    codes = {outcome.error.exit_code for outcome in failures if outcome.error}
    return 1 if len(codes) > 1 else next(iter(codes), 0)


def _untracked(items: Sequence[Any], label: str) -> Iterable[Any]:
    return items


def loading(name: str | None, device: str, threads: int | None) -> Callable[[], Model]:
    """Loads the model when it is called: PyTorch takes a second to import, and the first scan is read meanwhile.

    From here on the process is tuned for that.
    """
    from abdoseg.runtime.threads import use_cores

    tune_process()
    use_cores(threads)

    def load() -> Model:
        import_torch()
        import torch

        from abdoseg.model.weights import load_model

        if threads:
            torch.set_num_threads(threads)
        return load_model(name, device)

    return load


def _organs(names: str | None, scheme: str) -> tuple[str, ...] | None:
    """The organs asked for. Raises UsageError for names, and schemes, that are not known."""
    from abdoseg.anatomy.label_schemes import SCHEMES, numbers_in
    from abdoseg.anatomy.organs import BY_NAME
    from abdoseg.model.plan import members

    if scheme not in SCHEMES:
        raise UsageError(f"--labels {scheme}: no such scheme; there are {', '.join(SCHEMES)}")
    if names is None:
        return None
    asked = (name.strip().lower().replace(" ", "_") for name in names.split(","))
    organs = tuple(organ for name in asked for organ in members(name.replace("kidneys", "kidney")))
    for organ in organs:
        if organ not in BY_NAME:
            raise UsageError(f"--organs {organ}: no such organ; there are {', '.join(BY_NAME)}")
        if organ not in numbers_in(scheme):
            raise UsageError(f"--organs {organ}: the scheme {scheme} has no number for it")
    return organs


def _size(text: str | None) -> int | None:
    """Bytes of "2G", "1500M" or a plain number. Raises UsageError."""
    if text is None:
        return None
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    number = text.upper().removesuffix("B").removesuffix("I")
    try:
        size = int(float(number.rstrip("KMG")) * units.get(number[-1:], 1))
    except (ValueError, OverflowError):
        size = 0
    if size < LEAST_SIZE:
        raise UsageError(f"--max-memory {text}: give a size such as 2G or 1500M")
    return size


def _exports(
    cases: Sequence[Case], folder: Path, formats: Sequence[str], organs: Sequence[str] | None, split: bool | None
) -> list[Path]:
    """Every file that the cases may have in these formats, of the organs asked for or the main ones."""
    from abdoseg.anatomy.organs import MAIN

    made = (EXPORTERS[name].paths(folder, case.name, organs or MAIN, split) for case in cases for name in formats)
    return [path for paths in made for path in paths.values()]


def _exporting(formats: Sequence[str], flags: dict[str, Any], folder: Path, overwrite: bool) -> Export | None:
    """Writes the formats; None when there is none."""
    chosen = chosen_options(flags)
    if not formats:
        return None

    def export(case: Case, volume: Volume, found: Segmentation) -> Iterable[Path]:
        from abdoseg.exporters import job
        from abdoseg.io.formats import kind_of

        series = case.scan if kind_of(case.scan) == "DICOM" else None
        work = job.Job(
            case.name, found.labelmap, tuple(found.rows), volume, reference=series, record=found.record, options=chosen
        )
        return job.export(work, folder, formats, flags["split"], overwrite)

    return export


def _tell(outcome: Outcome, talk: Talk, as_json: bool) -> None:
    """Paths or JSON on stdout, news and warnings on stderr."""
    name, error = outcome.case.name, outcome.error
    if error:
        talk.error(str(error))
    for warning in (*outcome.record.get("input", {}).get("notes", ()), *outcome.record.get("warnings", ())):
        talk.warn(f"{name}: {warning}")
    if as_json:
        facts: dict[str, Any] = {"case": name, "outputs": [str(path) for path in outcome.written]}
        facts |= {"error": str(error), "exit_code": error.exit_code} if error else {"volumes": outcome.rows}
        click.echo(json.dumps(facts | {"warnings": outcome.record.get("warnings", [])}))
        return
    for path in outcome.written:
        click.echo(path)
    if not error:
        organs = ", ".join(f"{row['organ'].replace('_', ' ')} {row['volume_ml']:.0f} ml" for row in outcome.rows)
        talk.say(f"{name}: {organs} ({outcome.seconds:.1f} s)")
