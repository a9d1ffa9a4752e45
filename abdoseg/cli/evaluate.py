"""abdoseg eval: predictions against truths, as a table, CSV, JSON and an HTML report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk
from abdoseg.cli.scoring import organs_of, print_tables, reading_of, scoring_options, settings_of

if TYPE_CHECKING:
    from rich.table import Table

    from abdoseg.evaluation import Evaluation
    from abdoseg.evaluation.flare import Official

FILE = click.Path(path_type=Path, dir_okay=False)
CASES_SHOWN = 12  # more cases than this are left to --output and --report
BY_CASE = ("dice", "iou", "precision", "recall", "nsd", "hausdorff_mm", "hd95_mm", "assd_mm",
           "truth_ml", "prediction_ml", "difference_percent")  # fmt: skip


@click.command()
@click.argument("prediction", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE.csv",
    help="Write one row a case and organ; and beside it FILE_summary.csv, one row an organ and metric.",
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
@options.as_json
@options.threads
@options.overwrite
@options.quiet
def evaluate(
    prediction: Path,
    truth: Path,
    output: Path | None,
    report: Path | None,
    images: Path | None,
    compat: str | None,
    as_json: bool,
    threads: int | None,
    overwrite: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Score PREDICTION against TRUTH, two folders or two label files.

    The truth gives the list of cases; a case without a prediction counts as nothing found, and the exit code is 12.
    Folders are matched by case name, whatever the suffixes (_0000, _seg, .nii, .nii.gz, .mha, .nrrd).
    """
    import json

    from abdoseg.errors import MissingPredictionError
    from abdoseg.evaluation import evaluate as run
    from abdoseg.evaluation import find_pairs
    from abdoseg.evaluation.flare import official_numbers, official_scores, official_table
    from abdoseg.evaluation.tables import as_json as json_of
    from abdoseg.evaluation.tables import beside, score_row, summary_rows, write_rows
    from abdoseg.output import ensure_absent, writing

    talk = Talk(quiet)
    csvs = [] if output is None else [output, beside(output, "summary"), *([beside(output, compat)] if compat else [])]
    ensure_absent([*csvs, *([report] if report else [])], overwrite)
    pairing = find_pairs(prediction, truth)
    evaluation = run(
        pairing, settings_of(flags), reading_of(flags), organs=organs_of(flags), threads=threads, track=talk.track
    )
    numbers = official_numbers(evaluation) if compat else {}
    official = official_scores(evaluation, numbers)
    for warning in evaluation.warnings:
        talk.warn(warning)
    if output is not None:
        write_rows([score_row(score) for score in evaluation.scores], output, overwrite)
        write_rows(summary_rows(evaluation), beside(output, "summary"), overwrite)
        if compat:
            write_rows(official_table(evaluation, numbers), beside(output, compat), overwrite)
    if report is not None:
        from abdoseg.evaluation.report import report_page

        page = report_page(evaluation, images)
        with writing(report, overwrite) as temporary:
            temporary.write_text(page, encoding="utf-8")
    if as_json:
        whole = json_of(evaluation) | ({compat: [vars(row) for row in official]} if compat else {})
        click.echo(json.dumps(whole, indent=1, allow_nan=False))
    else:
        print_tables(_tables(evaluation, official))
    if pairing.missing:
        raise MissingPredictionError(
            f"the evaluation is complete, but {len(pairing.missing)} of {len(pairing.pairs)} cases had no prediction "
            "and count as nothing found"
        )


def _tables(evaluation: Evaluation, official: list[Official]) -> list[Table]:
    """Cases where they are few, organs where there are several cases, the script's numbers where they are wanted."""
    tables = []
    if len(evaluation.cases) <= CASES_SHOWN:
        tables.append(_by_case(evaluation))
    if len(evaluation.cases) > 1:
        tables.append(_by_organ(evaluation))
    return tables + ([_beside_official(official)] if official else [])


def _by_case(evaluation: Evaluation) -> Table:
    from rich.table import Table

    from abdoseg.evaluation.columns import METRICS

    table = Table(title="By case and organ")
    for name in ("case", "organ"):
        table.add_column(name, no_wrap=True)
    for name in BY_CASE:
        table.add_column(METRICS[name].title, justify="right")
    for score in evaluation.scores:
        style = {"both": "", "absent": "dim"}.get(score.status, "bold red")
        numbers = [METRICS[name].text(METRICS[name].value(score)) for name in BY_CASE]
        table.add_row(score.case, score.organ, *numbers, style=style)
    return table


def _by_organ(evaluation: Evaluation) -> Table:
    from rich.table import Table

    from abdoseg.evaluation.columns import METRICS

    overall = evaluation.overall
    table = Table(
        title=f"{overall.cases} cases",
        caption=f"mean Dice {overall.dice:.4f}, mean IoU {overall.mean_iou:.4f}, NSD {overall.nsd:.4f}, "
        f"pixel accuracy {overall.pixel_accuracy:.5f}",
    )
    table.add_column("organ", no_wrap=True)
    for name in ("cases", "Dice mean", "95 % interval", "sd", "median", "worst", "IoU", "NSD", "HD95, mm", "ASSD, mm",
                 "failed"):  # fmt: skip
        table.add_column(name, justify="right")
    for organ in evaluation.organs:
        dice = organ.metric("dice")
        means = [METRICS[name].text(organ.metric(name).mean) for name in ("iou", "nsd", "hd95_mm", "assd_mm")]
        texts = [METRICS["dice"].text(value) for value in (dice.mean, dice.low, dice.high, dice.sd, dice.median)]
        table.add_row(
            organ.organ, str(organ.cases), texts[0], f"{texts[1]} to {texts[2]}", texts[3], texts[4],
            f"{dice.worst:.4f} {dice.worst_case}", *means, str(organ.failures),
        )  # fmt: skip
    return table


def _beside_official(official: list[Official]) -> Table:
    from rich.table import Table

    table = Table(title="Beside the official FLARE22 script")
    for name in ("case", "organ", "DSC, script", "Dice, ours", "NSD, script", "NSD, ours", "why they differ"):
        table.add_column(name, justify="left" if name in ("case", "organ", "why they differ") else "right")
    for row in official:
        numbers = [f"{value:.4f}" for value in (row.dsc, row.ours_dice, row.nsd, row.ours_nsd)]
        table.add_row(row.case, row.organ, *numbers, row.why)
    return table
