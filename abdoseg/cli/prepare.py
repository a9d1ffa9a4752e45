"""abdoseg prepare: packs datasets once, so that training needs neither the scans nor their readers."""

from __future__ import annotations

from dataclasses import dataclass

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk
from abdoseg.cli.data_options import DataFlags, data_options, show_training_data
from abdoseg.cli.former_flags import FormerFlags


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(DataFlags):
    """Flags of `abdoseg prepare`."""

    recipe: str
    synthetic: float
    quiet: bool


@click.command(cls=FormerFlags, former={"--painted": "--synthetic"})
@data_options
@click.option("--recipe", default="default", show_default=True, help="The recipe whose grid the data is packed for.")
@click.option("--synthetic", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Above 0: pack what is needed to synthesise scans from the labels too.")  # fmt: skip
@options.quiet
@options.as_options(PrepareOptions)
def prepare(given: PrepareOptions) -> None:
    """Pack datasets into a cache of resampled arrays, and say what is in them.

    Train from it with `--data CACHE/NAME`, on this machine or another: torch and numpy suffice there.
    Prints the folders on stdout.
    """
    from dataclasses import replace

    from abdoseg.training.data.collect import collect_datasets
    from abdoseg.training.recipes import check_fields, find_recipe

    talk = Talk(given.quiet)
    config = find_recipe(given.recipe)
    check_fields(config)
    config = replace(config, synthetic=max(given.synthetic, config.synthetic))
    data = collect_datasets(given.requests(), config, given.cache, keep_going=given.keep_going, realign=given.realign)
    show_training_data(data, talk)
    for folder in dict.fromkeys(case.folder for case in data.cache.cases):
        click.echo(folder)
