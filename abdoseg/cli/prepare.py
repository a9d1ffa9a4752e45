"""abdoseg prepare: packs datasets once, so that training needs neither the scans nor their readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk
from abdoseg.cli.data_options import data_options, requested, show_gathered


@click.command()
@data_options
@click.option("--recipe", default="default", show_default=True, help="The recipe whose grid the data is packed for.")
@click.option("--painted", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Above 0: pack what is needed to paint scans from the labels too.")  # fmt: skip
@options.quiet
def prepare(recipe: str, painted: float, cache: Path, quiet: bool, **flags: Any) -> None:
    """Pack datasets into a cache of resampled arrays, and say what is in them.

    Train from it with `--data CACHE/NAME`, on this machine or another: torch and numpy suffice there.
    Prints the folders on stdout.
    """
    from dataclasses import replace

    from abdoseg.training.data.collect import gather
    from abdoseg.training.recipes import find_recipe

    talk = Talk(quiet)
    config = find_recipe(recipe)
    config = replace(config, painted=max(painted, config.painted))
    gathered = gather(requested(flags), config, cache, keep_going=flags["keep_going"], realign=flags["realign"])
    show_gathered(gathered, talk)
    for folder in dict.fromkeys(case.folder for case in gathered.cache.cases):
        click.echo(folder)
