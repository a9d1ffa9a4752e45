"""abdoseg compare: several models' predictions against the same truths, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk
from abdoseg.cli.scoring_options import ScoringFlags, scoring_options

if TYPE_CHECKING:
    from abdoseg.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class CompareOptions(ScoringFlags):
    """Arguments and flags of `abdoseg compare`."""

    folders: tuple[Path, ...]


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="RUN... TRUTH", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.csv",
    help="Write the paired differences; and beside it FILE_scores.csv, one row a run, case and organ.",
)
@scoring_options
@options.as_options(CompareOptions)
def compare(given: CompareOptions) -> None:
    """Score several RUNs (folders of label files) against the same TRUTH, the last folder, side by side.

    Every run is set against the first, case by case: mean difference with a 95 % bootstrap interval, Wilcoxon's
    signed-rank test, and its p after Holm's correction over organs. A case that a run lacks counts as nothing found.
    """
    import json

    from abdoseg.cli.score_tables import differences_table, means_table, print_tables
    from abdoseg.errors import MissingPredictionError, UsageError
    from abdoseg.evaluation.compare import differences
    from abdoseg.evaluation.tables import as_json as json_of
    from abdoseg.evaluation.tables import beside, json_values, score_row, write_rows
    from abdoseg.runtime.files import ensure_absent

    folders = given.folders
    if len(folders) < 3:
        raise UsageError("compare needs at least two runs and the truths, in this order: RUN RUN... TRUTH")
    talk = Talk(given.quiet)
    csvs = [] if given.output is None else [given.output, beside(given.output, "scores")]
    ensure_absent(csvs, given.overwrite)
    models: dict[str, Evaluation] = {}
    for folder, name in zip(folders[:-1], _names(folders[:-1]), strict=True):
        models[name] = given.evaluate(folder, folders[-1], talk)
        for warning in models[name].warnings:
            talk.warn(f"{name}: {warning}")
    found = differences(models)
    if given.output is not None:
        write_rows([vars(row) for row in found], given.output, given.overwrite)
        rows = [{"run": name} | score_row(score) for name, model in models.items() for score in model.scores]
        write_rows(rows, beside(given.output, "scores"), given.overwrite)
    if given.as_json:
        whole = {
            "runs": {name: json_of(model) for name, model in models.items()},
            "differences": json_values([vars(row) for row in found]),
        }
        click.echo(json.dumps(whole, indent=1, allow_nan=False))
    else:
        print_tables([means_table(models), differences_table(found)])
    lacking = [name for name, model in models.items() if model.pairing.missing]
    if lacking:
        raise MissingPredictionError(
            f"the comparison is complete, but cases are missing in {', '.join(lacking)} and count as nothing found"
        )


def _names(folders: tuple[Path, ...]) -> list[str]:
    """The runs' names: their folders', with as many parents as it takes to tell them apart."""
    from abdoseg.errors import UsageError

    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(len(part) for part in parts) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise UsageError("the same folder is given twice; every run needs its own")
