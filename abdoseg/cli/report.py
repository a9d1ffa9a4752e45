"""abdoseg report: the table and the index page of a folder of results."""

from __future__ import annotations

from pathlib import Path

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@options.quiet
def report(folder: Path, quiet: bool) -> None:
    """Sum up FOLDER, where abdoseg segment has written: cohort.csv, a row a case, and index.html, the worst case first.

    At any time, of all runs and shards that have written there so far. Cases that failed have their error. Paths of
    the two files go to stdout.
    """
    for path in write_reports(folder, Talk(quiet)):
        click.echo(path)


def write_reports(folder: Path, talk: Talk) -> list[Path]:
    """Writes table and page, and says in three lines what is in them. Raises OutputError."""
    from abdoseg.cohort.index_page import write_index
    from abdoseg.cohort.table import TABLE, read_cohort, summary, write_table
    from abdoseg.runtime.files import ensure_writable

    rows = read_cohort(folder)
    ensure_writable(folder)
    write_table(rows, folder / TABLE)
    page = write_index(rows, folder)
    counts, volumes = summary(rows)
    talk.say(f"{folder}: {counts}")  # of all its cases, those of former runs as well
    talk.say(volumes)
    talk.say(f"see {page}, or {folder / TABLE}")
    return [folder / TABLE, page]
