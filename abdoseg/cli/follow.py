"""abdoseg follow: two time points of a patient, as tables, CSV, JSON and an HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk
from abdoseg.errors import AbdosegError, GeometryError

if TYPE_CHECKING:
    from rich.table import Table

    from abdoseg.evaluation.changes import FollowUp
    from abdoseg.rendering.html import Value

TIMES = "before", "after"
FILE = click.Path(path_type=Path, dir_okay=False)
STYLES = {"bad": "bold red", "warn": "yellow", "good": "green", "": ""}


@dataclass(frozen=True, kw_only=True)
class FollowOptions:
    """Arguments and flags of `abdoseg follow`."""

    before: Path
    after: Path
    output: Path | None
    report: Path | None
    scheme: str | None
    scan: tuple[Path, Path] | None
    searched: tuple[str, ...]
    as_json: bool
    overwrite: bool
    quiet: bool


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE.csv",
    help="Write one row a case and volume; and beside it FILE_lesions.csv, one row a case and lesion.",
)
@click.option("--report", type=FILE, metavar="FILE.html", help="Write a self-contained page with slices side by side.")
@options.recorded_labels
@click.option(
    "--scan",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="BEFORE AFTER",
    help="The scans, or for several cases folders of scans by case name.  [default: by CASE.json]",
)
@click.option(
    "--searched",
    type=click.Choice(TIMES),
    multiple=True,
    help="These labelmaps were searched for lesions: where they show none, there are none. May be given again.",
)
@options.as_json
@options.overwrite
@options.quiet
@options.as_options(FollowOptions)
def follow(given: FollowOptions) -> int:
    """Compare two time points: BEFORE and AFTER are folders that segment has written, or two labelmaps.

    Organs' volumes stand side by side. Liver lesions are matched after a rigid registration of the liver: matched,
    split, merged, vanished and new ones, with volumes and longest axial diameters. Cases are paired by name, two single
    ones whatever they are called.

    \b
        abdoseg segment before.nii.gz -o before/ --tumour
        abdoseg segment after.nii.gz -o after/ --tumour
        abdoseg follow before/ after/ --report follow.html

    Where the livers do not lie upon each other as one patient's do, lesions are not matched, and the exit code is 6.
    """
    from abdoseg.cli.score_tables import print_tables
    from abdoseg.cohort.time_points import open_time_point, pair_cases
    from abdoseg.evaluation.changes import LesionChange, as_json
    from abdoseg.evaluation.follow import follow as run
    from abdoseg.evaluation.tables import beside, write_rows
    from abdoseg.exporters.open_case import CaseFiles
    from abdoseg.runtime.files import ensure_absent, writing

    talk, output, report = Talk(given.quiet), given.output, given.report
    csvs = [] if output is None else [output, beside(output, "lesions")]
    ensure_absent([*csvs, *([report] if report else [])], given.overwrite)
    pairs, alone = pair_cases(given.before, given.after)
    for sentence in alone:
        talk.warn(sentence)
    files = [CaseFiles(given.scheme, scan, several=len(pairs) > 1) for scan in given.scan or (None, None)]
    found, sections, failures = [], [], list[AbdosegError]()
    for pair in talk.track(pairs, "follow"):
        try:
            before, after = (
                open_time_point(path, named, with_scan=report is not None, searched=when in given.searched)
                for when, path, named in zip(TIMES, (pair.before, pair.after), files, strict=True)
            )
            one = run(pair.case, before, after)
        except AbdosegError as error:
            if len(pairs) == 1:
                raise
            talk.error(f"{pair.case}: {error}")
            failures.append(error)
            continue
        found.append(one)
        for sentence in one.warnings:
            talk.warn(f"{pair.case}: {sentence}")
        if report is not None:
            from abdoseg.evaluation.follow_page import case_section

            sections.append(case_section(one, before, after))
    if output is not None:
        write_rows([{"case": one.case} | row.row() for one in found for row in one.volumes], output, given.overwrite)
        lesions = [{"case": one.case} | row.row() for one in found for row in one.lesions]
        write_rows(lesions, beside(output, "lesions"), given.overwrite, ["case", *LesionChange("new", (), ()).row()])
    if report is not None:
        from abdoseg.evaluation.follow_page import follow_page

        with writing(report, given.overwrite) as temporary:
            temporary.write_text(follow_page(sections), encoding="utf-8")
    if given.as_json:
        click.echo(json.dumps({"cases": [as_json(one) for one in found]}, indent=1, allow_nan=False))
    else:
        print_tables(_tables(found))
    if unmatched := [one.case for one in found if one.misfits]:
        raise GeometryError(
            f"the volumes are complete, but the lesions of {', '.join(unmatched)} are not matched: "
            "the livers do not lie upon each other as one patient's do"
        )
    return failures[0].exit_code if failures else 0


def _tables(cases: Sequence[FollowUp]) -> list[Table]:
    """One patient's volumes and, where there are any, lesions; of several patients a row each."""
    from abdoseg.evaluation.follow_page import (
        cases_table,
        diameters_text,
        lesion_table,
        registration_text,
        volume_table,
    )

    if len(cases) > 1:
        table = _rich("two time points", *cases_table(cases))
        table.caption = "-o and --report have each organ's and each lesion's rows."
        return [table]
    tables = []
    for found in cases:
        tables.append(_rich(f"{found.case}: volumes", *volume_table(found)))
        if found.lesions:
            tables.append(_rich(f"{found.case}: lesions", *lesion_table(found)))
            tables[-1].caption = f"{registration_text(found)} {diameters_text(found)}"
    return tables


def _rich(title: str, headers: Sequence[str], rows: Sequence[Sequence[Value]]) -> Table:
    """A page's table for the terminal: numbers on the right, tones as styles."""
    from rich.table import Table
    from rich.text import Text

    from abdoseg.rendering.html import Cell

    table = Table(title=title)
    cells = [
        [cell if isinstance(cell, Cell) else Cell("" if cell is None else str(cell)) for cell in row] for row in rows
    ]
    for number, header in enumerate(headers):
        numeric = any(isinstance(row[number].sort, float) for row in cells)
        table.add_column(header, justify="right" if numeric else "left", no_wrap=number == 0)
    for row in cells:
        table.add_row(*(Text(cell.text, STYLES[cell.tone]) for cell in row))
    return table
