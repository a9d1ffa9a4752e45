"""abdoseg eval: predictions against truths, as a table, CSV, JSON and an HTML report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk
from abdoseg.cli.scoring_options import ScoringFlags, scoring_options

FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(ScoringFlags):
    """Arguments and flags of `abdoseg eval`."""

    prediction: Path
    truth: Path
    report: Path | None
    images: Path | None
    compat: str | None


@click.command()
@click.argument("prediction", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE.csv",
    help="Write one row a case and organ; and beside it FILE_summary.csv, one row an organ and metric, and "
    "FILE_lesions.csv where there are tumours: those found by diameter, false ones, the burden's error.",
)
@click.option("--report", type=FILE, metavar="FILE.html", help="Write a self-contained page with plots and pictures.")
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="The scans, to lie under the report's pictures; matched by case name.",
)
@click.option(
    "--compat",
    type=click.Choice(["flare22"]),
    help="Also the numbers of the official script, quirks and all, and why ours differ; "
    "with --output also FILE_flare22.csv, as the script writes it.",
)
@scoring_options
@options.as_options(EvaluateOptions)
def evaluate(given: EvaluateOptions) -> None:
    """Score PREDICTION against TRUTH, two folders or two label files.

    The truth gives the list of cases; a case without a prediction counts as nothing found, and the exit code is 12.
    Folders are matched by case name, whatever the suffixes (_0000, _seg, .nii, .nii.gz, .mha, .nrrd).
    """
    import json

    from abdoseg.cli.score_tables import evaluation_tables, print_tables
    from abdoseg.errors import MissingPredictionError, UsageError
    from abdoseg.evaluation.flare import official_numbers, official_scores, official_table
    from abdoseg.evaluation.tables import as_json as json_of
    from abdoseg.evaluation.tables import beside, lesion_rows, score_row, summary_rows, write_rows
    from abdoseg.runtime.files import ensure_absent, writing

    if given.images and not given.report:
        raise UsageError("--images lie under the pictures of --report; name its file, too")
    output, report, compat = given.output, given.report, given.compat
    talk = Talk(given.quiet)
    words = ("summary", "lesions", *([compat] if compat else []))
    csvs = [] if output is None else [output, *(beside(output, word) for word in words)]
    ensure_absent([*csvs, *([report] if report else [])], given.overwrite)
    evaluation = given.evaluate(given.prediction, given.truth, talk)
    pairing = evaluation.pairing
    numbers = official_numbers(evaluation) if compat else {}
    official = official_scores(evaluation, numbers)
    for warning in evaluation.warnings:
        talk.warn(warning)
    if output is not None:
        write_rows([score_row(score) for score in evaluation.scores], output, given.overwrite)
        write_rows(summary_rows(evaluation), beside(output, "summary"), given.overwrite)
        if lesions := lesion_rows(evaluation):
            write_rows(lesions, beside(output, "lesions"), given.overwrite)
        if compat:
            write_rows(official_table(evaluation, numbers), beside(output, compat), given.overwrite)
    if report is not None:
        from abdoseg.evaluation.report import report_page

        page = report_page(evaluation, given.images)
        with writing(report, given.overwrite) as temporary:
            temporary.write_text(page, encoding="utf-8")
    if given.as_json:
        whole = json_of(evaluation) | ({compat: [vars(row) for row in official]} if compat else {})
        click.echo(json.dumps(whole, indent=1, allow_nan=False))
    else:
        print_tables(evaluation_tables(evaluation, official))
    if pairing.missing:
        raise MissingPredictionError(
            f"the evaluation is complete, but {len(pairing.missing)} of {len(pairing.pairs)} cases had no prediction "
            "and count as nothing found"
        )
